"""Users' own models: a folder with an ONNX export and its tokenizer, used as a signal."""
