//! What is shipped around the binary: the wrapper scripts, the deployment files, the documented commands.

mod commands;
mod demo;
mod deployment;
mod documented;
mod gate;
mod howto;
mod machine;
mod peers;
mod scripts;
mod wrappers;
