"""Lightning callbacks: checkpoints, validation captions, progress, moving averages."""
