"""Other libraries and file formats: timm, ONNX, checkpoints. Only the module that uses a library needs it."""
