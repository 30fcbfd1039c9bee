//! One suite a port: what every implementation, fake or real, must do.
