"""What is the embedded dataset? `scenes`: pictures and captions made in code, whose truth is known.

It is there to check an idea about attention in five minutes: nothing to download, a small model learns it
from scratch on two CPU cores, and two questions that real captions leave to taste have an exact answer. Is
this caption true of the picture? Did the word look at its object?

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
black), two sizes (small 15–21 pixels along the longer side, large 25–35). In four of ten
pictures with several objects some are alike in shape, colour and size, so that there is something to count;
the others differ in both shape and colour. Objects lie fully inside
and apart, tilted by up to 8°, in jittered colours that stand out from a muted, textured background with
faint dots and lines that are no objects, under pixel noise. The same seed gives the same pictures.
`Scene.mask` and `SceneObject.box` say where each object is.

**Captions.** Five different references a picture, each true and naming every object, in 49 words: lists ("a
red circle and two small blue squares"), mostly groups and large things first; relations ("a star is
above a ring and to the left of a heart",
said when the offset in that direction is at least 1.5 times the other), places ("in the top left"), with or
without sizes and openings. `Scenes.references` also tells which noun names which objects.

**Splits.** train 8,000, val 500 and test 1,000 pictures by default; any other size continues the same
sequence. What a picture shows (shape, colour, size and position in eighths of the side) decides which split
it may be in, whatever the seed, so no two splits ever share a scene. Two pairs occur in test alone, at their
natural rate, in 6 % of its pictures (`Scene.has_held_out`): purple circle, yellow square.

**Truth.** `check` reads a caption by a grammar, not by looking among the references, and calls it true when
all of it can be read and all it claims holds at once: the objects exist with those attributes, no object is
named twice, numbers are exact ("a ring" leaves room for more), relations and places hold. A relation holds
when the offset in its direction is the larger one. A true caption may leave objects out: `Verdict.complete`
says whether it does.

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
