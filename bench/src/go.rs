//! The Go program, built once and run in every round, so that its turns alternate with ours.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::progress::Progress;
use crate::rival::Rival;

/// The Go program, or the reason why it is missing.
pub(crate) struct Go {
    program: Result<PathBuf, String>,
    test: bool,
}

impl Go {
    pub(crate) fn build(test: bool, progress: &Progress) -> Self {
        let program = build();
        if let Err(reason) = &program {
            progress.say(&format!("Go's side: not run ({reason})"));
        }
        Go { program, test }
    }

    /// Returns the rival for a line, with the reason if it could not be built.
    pub(crate) fn rival(&self) -> Rival {
        Rival { name: "Go", missing: self.program.as_ref().err().cloned() }
    }

    /// Runs a measurement that has one figure.
    pub(crate) fn figure(&self, measurement: &str) -> Option<[f64; 1]> {
        self.figures(measurement, [measurement])
    }

    /// Runs one measurement once. The program prints a line `name value` for each figure. `names` selects the figures.
    pub(crate) fn figures<const M: usize>(&self, measurement: &str, names: [&str; M]) -> Option<[f64; M]> {
        let program = self.program.as_ref().ok()?;
        let mut command = Command::new(program);
        if self.test {
            command.arg("-test");
        }
        let output = command.arg(measurement).output();
        let printed = finished(output).unwrap_or_else(|reason| panic!("Go's side of {measurement} failed: {reason}"));
        Some(
            names.map(|name| {
                find(&printed, name).unwrap_or_else(|| panic!("Go's side of {measurement} printed no {name}"))
            }),
        )
    }

    /// Returns the command of one of Go's servers, which stops when its input ends.
    pub(crate) fn server(&self, name: &str) -> Option<Command> {
        let mut command = Command::new(self.program.as_ref().ok()?);
        command.args(["-serve", name]);
        Some(command)
    }
}

fn build() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let program = env::current_exe()
        .map_err(|error| error.to_string())?
        .with_file_name(format!("ripcord-bench-go{}", env::consts::EXE_SUFFIX));
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        // Uses the installed Go. Without this setting, an older Go would download a newer one.
        .env("GOTOOLCHAIN", "local")
        .output();
    if output.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err("no go on the PATH".to_owned());
    }
    finished(output).map_err(|reason| format!("go build failed: {reason}"))?;
    Ok(program)
}

/// Returns the output of a process that has succeeded.
fn finished(output: io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{}, {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn find(printed: &str, wanted: &str) -> Option<f64> {
    printed.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == wanted).then(|| value.trim().parse().ok())?
    })
}
