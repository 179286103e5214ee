import speechxfer.torchaudio_import  # noqa: F401  # before transformers
