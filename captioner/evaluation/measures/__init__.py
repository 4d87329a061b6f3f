"""Measures of attention maps and captions against annotations: grounding, faithfulness, CHAIR."""
