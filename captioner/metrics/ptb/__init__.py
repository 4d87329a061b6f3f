"""The Penn Treebank tokenizer of the coco-caption tools."""
