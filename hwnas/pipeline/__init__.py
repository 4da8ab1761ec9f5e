"""The stations joined: train, profile, search and build over one run folder, each able to go on where it was."""
