"""What is the embedded dataset? `scenes`: pictures and captions made in code, whose truth is known."""

from captioner.data.scenes.dataset import Scenes
from captioner.data.scenes.truth import Verdict, check
from captioner.data.scenes.words import Mention
from captioner.data.scenes.world import Scene, SceneObject

__all__ = ["Mention", "Scene", "SceneObject", "Scenes", "Verdict", "check"]
