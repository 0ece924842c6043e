"""What follows a running sweep: the terminal, TensorBoard, MLflow."""
