"""One module an area; each says what can be taken away, and which short test must notice."""
