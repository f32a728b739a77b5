//! What a search leaves to its torrent: its crew, which goes on.

use std::sync::Arc;

use ferri_swarm::{Input, MetadataSwarm};

use super::farewell::farewell;
use crate::clock;
use crate::crew::{Crew, Door, Inbox};
use crate::registry::Entry;
use crate::services::Services;

/// What a search has when it ends.
pub(crate) struct Estate {
    pub(crate) crew: Crew<MetadataSwarm>,
    pub(crate) inbox: Inbox,
    pub(crate) door: Door,
    /// Incoming peers are sent to the search until the torrent takes its place.
    pub(crate) entry: Option<Entry>,
}

impl std::fmt::Debug for Estate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Estate").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl Estate {
    /// Closes everything and tells the trackers. Nobody wants it.
    pub(crate) async fn end(self: Box<Self>, services: &Arc<Services>) {
        let Self { mut crew, inbox, entry, .. } = *self;
        let now = clock::now();
        crew.handle(Input::Stop, now);
        while crew.poll(now).is_some() {}
        crew.close_all();
        drop(entry);
        farewell(services, crew, inbox).await;
    }
}
