"""Streaming detection. Imports numpy and onnxruntime, and nothing of speechxfer outside this folder."""
