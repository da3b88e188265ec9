"""How an image reaches the app on the board, with the faults that happen on the way."""
