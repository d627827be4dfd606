//! The demonstration: two ways in which a shell comes to run in a container, each with the alert to expect.

use anyhow::Result;

use crate::container::Container;

/// Plays it through. The container is gone when this returns.
pub(crate) fn run() -> Result<()> {
    let mut container = Container::start()?;
    println!(
        "demo: started a service in container {:.12} of pod {}, with every capability; expect cap.dangerous-container",
        container.id, container.pod
    );
    let answer = container.ask("id; uname -n")?;
    println!(
        "demo: a request made it run a shell, which answered `{}`; expect shell.from-service",
        one_line(&answer)
    );
    let output = container.exec("/bin/sh", &["-c", "id; uname -n"])?;
    println!(
        "demo: injected a shell from outside, which answered `{}`; expect shell.injected",
        one_line(&output)
    );
    drop(container);
    println!("demo: the container is gone");
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
