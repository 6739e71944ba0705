"""From a model's directory to the cells of a build file. Headers are read, weights are not.

safetensors  headers of safetensors files, read strictly
subset       tensors picked by name, as one file
names        the layer that a tensor belongs to (pure)
stages       columns dealt out to stages, balanced by bytes (pure)
onnx         the files that an ONNX model keeps its weights in
directory    the files of a model
tensors      all tensors of a model, and its index
request      how a model is to be split (pure)
plan         cells and partitions (pure)
columns      weights in columns
arrangement  a directory -> a plan
"""
