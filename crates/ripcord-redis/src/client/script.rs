//! Scripts, which Redis runs as one step.

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, ToRedisArgs, Value};

/// The code of a script.
pub(crate) struct Script(redis::Script);

/// A call of a script. The arguments are written into the command at once, unlike in [`redis::ScriptInvocation`], which allocates
/// each argument.
pub(crate) struct Call<'a> {
    script: &'a redis::Script,
    command: Cmd,
}

impl Script {
    pub(crate) fn new(code: &str) -> Script {
        Script(redis::Script::new(code))
    }

    /// Creates a call with these keys.
    pub(crate) fn call(&self, keys: &[impl ToRedisArgs]) -> Call<'_> {
        let mut command = Cmd::with_capacity(16, 256);
        command.arg("EVALSHA").arg(self.0.get_hash()).arg(keys.len()).arg(keys);
        Call { script: &self.0, command }
    }
}

impl Call<'_> {
    /// Adds an argument, or several if `argument` is a list.
    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Runs the script. Sends the code if the server does not have it.
    pub(super) async fn send(&self, connection: &mut impl ConnectionLike) -> Result<Value, RedisError> {
        match self.command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                self.command.query_async(connection).await
            }
            answer => answer,
        }
    }
}
