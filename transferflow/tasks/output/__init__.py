"""What `predict` prints, writes and draws, by the form of the answer. Pictures themselves: `rendering`."""
