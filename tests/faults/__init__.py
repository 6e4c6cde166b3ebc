"""The engine under kill -9, pauses, lost answers and lost messages; the judges are the providers' own books and logs."""
