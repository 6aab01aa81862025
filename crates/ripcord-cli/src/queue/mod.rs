//! `ripcord queue`: shows and changes a work queue of `ripcord-redis`.

mod print;

use std::{fmt, io, time::Duration};

use ripcord::{Context, block_on};
use ripcord_redis::{CancelOutcome, Client, JobId, Queue};

use crate::serve::Hidden;

/// The flags of `ripcord queue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// Which queue, and how to print.
#[derive(Debug, clap::Args)]
struct Target {
    /// URL of Redis, as redis://USER:PASSWORD@HOST:PORT
    #[arg(long, value_name = "URL")]
    redis: Hidden,

    /// Name of the queue
    #[arg(long, value_name = "NAME")]
    queue: String,

    /// Prefix of all keys in Redis, as in the programs that use the queue
    #[arg(long, value_name = "TEXT", default_value = "ripcord")]
    prefix: String,

    /// Time limit of the command
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the jobs that wait or run, and then the delayed jobs
    List {
        #[command(flatten)]
        target: Target,
        /// Maximum number of jobs
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// List the dead letters: the jobs that failed and are not retried
    Dead {
        #[command(flatten)]
        target: Target,
        /// Maximum number of dead letters
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Put dead letters back into the queue, without their deadlines
    Resend {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        letters: Letters,
    },
    /// Delete dead letters
    Delete {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        letters: Letters,
    },
    /// Cancel a job that waits, runs or is delayed
    Cancel {
        #[command(flatten)]
        target: Target,
        /// ID of the job
        #[arg(value_name = "ID")]
        id: JobId,
        /// Cause with which the context of a running job ends
        #[arg(long, value_name = "TEXT", default_value = "canceled with ripcord queue")]
        cause: String,
    },
    /// Print the statistics of the queue
    Stats {
        #[command(flatten)]
        target: Target,
    },
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Letters {
    /// IDs of dead letters
    #[arg(value_name = "ID")]
    ids: Vec<JobId>,

    /// All dead letters
    #[arg(long)]
    all: bool,
}

/// The error of `ripcord queue`.
#[derive(Debug)]
pub enum Error {
    /// Redis, or a setting of the queue.
    Redis(ripcord_redis::Error),
    /// The job cannot be changed.
    Job(String),
    /// The output could not be written.
    Output(io::Error),
}

impl Error {
    /// Returns the exit code: 2 for an invalid setting, or 1.
    pub fn code(&self) -> u8 {
        match self {
            Error::Redis(error) if error.config_error().is_some() => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Redis(error) => error.fmt(f),
            Error::Job(text) => f.write_str(text),
            Error::Output(error) => write!(f, "the output could not be written: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<ripcord_redis::Error> for Error {
    fn from(error: ripcord_redis::Error) -> Self {
        Error::Redis(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Output(error)
    }
}

/// The jobs of any queue.
type Jobs = Queue<serde_json::Value>;

/// Runs the command.
///
/// # Errors
///
/// A setting is invalid, Redis is unavailable, there is no such job, or the output could not be written.
pub fn run(args: &Args) -> Result<(), Error> {
    match &args.action {
        Action::List { target, limit } => {
            let (queue, ctx) = target.open()?;
            print::jobs(&block_on(queue.list(&ctx, *limit))?, target.json)?;
        }
        Action::Dead { target, limit } => {
            let (queue, ctx) = target.open()?;
            print::dead_letters(&block_on(queue.dead_letters(&ctx, *limit))?, target.json)?;
        }
        Action::Resend { target, letters } => {
            let (queue, ctx) = target.open()?;
            let count = match letters.all {
                true => block_on(queue.resend_all(&ctx))?,
                false => block_on(queue.resend(&ctx, &letters.ids))?,
            };
            print::count("resent", count, target.json)?;
            letters.check(count)?;
        }
        Action::Delete { target, letters } => {
            let (queue, ctx) = target.open()?;
            let count = match letters.all {
                true => block_on(queue.delete_all(&ctx))?,
                false => block_on(queue.delete(&ctx, &letters.ids))?,
            };
            print::count("deleted", count, target.json)?;
            letters.check(count)?;
        }
        Action::Cancel { target, id, cause } => {
            let (queue, ctx) = target.open()?;
            let outcome = match block_on(queue.cancel(&ctx, *id, cause.as_str()))? {
                CancelOutcome::Removed => "removed",
                CancelOutcome::Signaled => "signaled",
                CancelOutcome::Dead => {
                    return Err(Error::Job(format!("{id} is a dead letter: use `ripcord queue delete`")));
                }
                _ => return Err(Error::Job(format!("there is no job {id}: it is over, or the ID is wrong"))),
            };
            print::canceled(*id, outcome, target.json)?;
        }
        Action::Stats { target } => {
            let (queue, ctx) = target.open()?;
            print::stats(&block_on(queue.stats(&ctx))?, target.json)?;
        }
    }
    Ok(())
}

impl Target {
    fn open(&self) -> Result<(Jobs, Context), Error> {
        // One command waits as long as the whole.
        let client = self.redis.redis().prefix(&self.prefix).name("ripcord queue").timeout(self.timeout);
        let client: Client = client.build()?;
        let queue = Queue::builder(&self.queue).client(&client).build()?;
        Ok((queue, Context::background().with_name("ripcord queue").with_timeout(self.timeout)))
    }
}

impl Letters {
    /// Checks that each ID was the ID of a dead letter.
    fn check(&self, count: u64) -> Result<(), Error> {
        let missing = (self.ids.len() as u64).saturating_sub(count);
        match missing {
            0 => Ok(()),
            1 => Err(Error::Job("1 ID is not the ID of a dead letter".to_owned())),
            _ => Err(Error::Job(format!("{missing} IDs are not the IDs of dead letters"))),
        }
    }
}
