import os

if os.environ.get("FAKE_CUDA") == "1":
    import fake_cuda

    fake_cuda.install()
