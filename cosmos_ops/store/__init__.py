"""A lake whose truth is elsewhere: on object storage, with this machine's folder as a working copy of it."""
