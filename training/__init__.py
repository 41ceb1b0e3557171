"""The recipes that made `weights/`, one module a model, run by name: `python -m training.shapes --data FOLDER`."""
