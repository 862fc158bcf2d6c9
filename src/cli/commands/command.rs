//! The commands, as they stand on a command line.

use clap::Subcommand;
use std::path::PathBuf;

/// What a master's program can do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum MasterCommand {
    /// Read and check the whole data directory, and say what is in it or what is wrong.
    Verify,
    /// Save the log of a running node to a file. It goes on meanwhile.
    Backup {
        /// The file to make.
        file: PathBuf,
        /// The node to ask; a secondary will do. [default: the one that this configuration describes]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
    },
    /// Make the data directory from a backup, or from a secondary that runs.
    Restore {
        /// A file that `backup` made, or the address of a secondary, such as http://localhost:5001.
        source: String,
    },
}

/// What a secondary's program can do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum SecondaryCommand {
    /// Read and check the whole data directory, and say what is in it or what is wrong.
    Verify,
    /// Put the copy in the data directory aside: at its next start the node fetches everything again from its master.
    Discard,
}
