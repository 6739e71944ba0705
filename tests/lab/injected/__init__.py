"""What child processes of the lab load before their own code: this directory is put into their PYTHONPATH."""
