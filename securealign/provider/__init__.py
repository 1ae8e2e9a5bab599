"""The provider: owns a linear head and serves training and inference sessions."""
