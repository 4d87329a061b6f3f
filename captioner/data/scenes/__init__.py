"""The embedded data set `scenes`: procedurally generated pictures and captions with known truth.

It tests an idea about attention in five minutes: there is nothing to download, and a small model learns it from scratch
on two CPU cores. Two questions without exact answer for real captions have one here: whether a caption is true of the
picture, and whether a word attends to its object.

>>> from captioner.data.scenes import Scenes, check
>>> test = Scenes("test")
>>> scene = test.scene(9)
>>> [(thing.size, thing.colour, thing.shape, thing.box) for thing in scene.objects]
[('large', 'blue', 'ring', (11, 34, 41, 65)), ('large', 'green', 'circle', (48, 38, 80, 71))]
>>> verdict = check("a blue ring is above a circle", scene)
>>> verdict.true, verdict.complete, [mention.objects for mention in verdict.mentions]
(True, True, [(0,), (1,)])
>>> check("a white ring above a green circle", scene).reason
'there is no white ring'

**Pictures.** One to three objects in a square of 96 pixels (or any side from 32): seven shapes (circle,
square, triangle, star, cross, ring, heart), eight colours (red, green, blue, yellow, purple, orange, white,
black), two sizes (small 15–21 pixels along the longer side, large 25–35). In four of ten pictures with several objects
some have the same shape, colour and size, so that captions count them; the others differ in both shape and colour.
Objects lie fully inside the picture and do not touch; they are tilted by up to 8°, in jittered colours that contrast
with a muted, textured background with faint dots and lines that are no objects, under pixel noise. The same seed gives
the same pictures. `Scene.mask` and `SceneObject.box` locate each object.

**Captions.** Five different references per picture, each true and naming every object, in 49 words: lists ("a red
circle and two small blue squares"), mostly groups and large objects first; relations ("a star is above a ring and to
the left of a heart"), used when the offset in that direction is at least 1.5 times the other; places ("in the top
left"); with or without sizes and openings. `Scenes.references` also gives the objects that each noun names.

**Splits.** train 8,000, val 500 and test 1,000 pictures by default; another size extends the same
sequence. The content of a picture (shape, colour, size and position in eighths of the side) determines its split,
whatever the seed, so no two splits share a scene. Two pairs occur in test alone, at their natural rate, in 6 % of its
pictures (`Scene.has_held_out`): purple circle, yellow square.

**Truth.** `check` parses a caption by a grammar instead of comparing it with the references. A caption is true when it
parses completely and all its claims hold at once: the objects exist with those attributes, no object is named twice,
numbers are exact ("a ring" allows more), relations and places hold. A relation holds when the offset in its direction
is the larger one. A true caption may omit objects; `Verdict.complete` is False then.

**Chance** on the test split: a reference of another picture is true in 0.5 % of pictures and true and
complete in 0.2 % of them; the best constant caption ("a heart") is true in 25 % and complete in 6 %, so
report both figures. A random pixel lies in the box of an object in 6.5 %.
"""

from captioner.data.scenes.dataset import Scenes
from captioner.data.scenes.language import Reference
from captioner.data.scenes.truth import Verdict, check
from captioner.data.scenes.words import Mention
from captioner.data.scenes.world import Scene, SceneObject

__all__ = ["Mention", "Reference", "Scene", "SceneObject", "Scenes", "Verdict", "check"]
