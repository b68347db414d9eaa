//! Owns `skep completions` and `skep man`: what the definition of the arguments says, for shells and manuals.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::failure::{Exit, Failure, print};

/// The program's name.
const NAME: &str = "skep";

/// Runs `skep completions`.
pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// Runs `skep man`.
pub fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let command = Args::command().name(NAME);
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let rendered = Man::new(command).render(&mut page);
        rendered.expect("a vector takes everything");
        print(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Ok);
    };
    let made = std::fs::create_dir_all(dir);
    let written = made.and_then(|()| clap_mangen::generate_to(command, dir));
    written.map_err(|error| {
        let text = format!("cannot write manual pages to {}: {error}", dir.display());
        Failure::new(Exit::Wrong, text)
    })?;
    Ok(Exit::Ok)
}
