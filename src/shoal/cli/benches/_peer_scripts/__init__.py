"""The same job as the twins', done with other libraries; each module runs by `run.py` in a virtual environment of its own."""
