"""Capacity on paper: what a number of episodes costs in time, storage, GPU hours and money, from costs that were measured or published."""
