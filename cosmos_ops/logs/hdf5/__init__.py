"""What HDF5 log formats share. h5py is imported when a file is opened, not with this package."""
