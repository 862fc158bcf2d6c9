//! The commands on a command line.

use clap::Subcommand;
use std::path::PathBuf;

/// What the program of the master can do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum MasterCommand {
    /// Read and check the whole data directory, and say what is in it or what is wrong.
    Verify,
    /// Save the log of a running node to a file. The node goes on serving meanwhile.
    Backup {
        /// The file to create.
        file: PathBuf,
        /// The master or a secondary to ask. [default: the node that this configuration describes]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
    },
    /// Create the data directory from a backup, or from a running secondary.
    Restore {
        /// A file that `backup` made, or the address of a secondary, such as http://localhost:5001.
        source: String,
    },
}

/// What the program of a secondary can do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum SecondaryCommand {
    /// Read and check the whole data directory, and say what is in it or what is wrong.
    Verify,
    /// Move the copy in the data directory aside, so that the master sends everything again after the next start.
    Discard,
}
