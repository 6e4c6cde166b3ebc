"""The demonstration: a seeded month of a shop and of the staff who booked it by hand, and the job that walks the staircase."""
