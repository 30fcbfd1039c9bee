//! A suite's scenes in one test, for worlds that take long to start and have room for many.

use std::pin::Pin;

use tokio::task::JoinSet;

/// One function of a suite with its world.
pub struct Scene {
    name: String,
    play: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Scene {
    pub fn new(name: &str, play: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            play: Box::pin(play),
        }
    }

    /// Says in which world it is played, where there are several.
    #[must_use]
    pub fn with(mut self, world: &str) -> Self {
        self.name = format!("{world}: {}", self.name);
        self
    }
}

/// Plays scenes, so many at a time and each on a task of its own, and tells of all that failed. A scene is named after what
/// was seen when it has passed: its name is printed then.
pub async fn play(scenes: impl IntoIterator<Item = Scene>, at_once: usize) {
    let mut scenes = scenes.into_iter();
    let (mut playing, mut names, mut failed) = (JoinSet::new(), Vec::new(), Vec::new());
    loop {
        while playing.len() < at_once
            && let Some(scene) = scenes.next()
        {
            let task = playing.spawn(scene.play);
            names.push((task.id(), scene.name));
        }
        let Some(played) = playing.join_next_with_id().await else {
            break;
        };
        let (id, passed) = match played {
            Ok((id, ())) => (id, true),
            Err(error) => (error.id(), false),
        };
        let Some((_, name)) = names.iter().find(|(playing, _)| *playing == id) else {
            continue;
        };
        if passed {
            println!("scene {}: passed", name.replace('_', " "));
        } else {
            failed.push(name.clone());
        }
    }
    assert!(!names.is_empty(), "no scene was played");
    assert!(failed.is_empty(), "failed, as said above: {}", failed.join(", "));
}
