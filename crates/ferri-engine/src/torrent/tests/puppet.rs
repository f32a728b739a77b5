//! A peer that behaves, up to a byte: from there on it says nothing more, hangs up, or does not even read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use ferri_metainfo::Metainfo;
use ferri_wire::extension::metadata::{Metadata, PART_LENGTH};
use ferri_wire::extension::{self, UT_METADATA};
use ferri_wire::{Handshake, Message, PeerId, Reserved, decode, encode};

use super::scene::PIECE;
use crate::peer::link::Link;

/// Who began the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Dials,
    IsDialled,
}

/// What it does when it has said what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It hears everything and says nothing.
    Silence,
    /// It hangs up.
    HangUp,
    /// It reads nothing more either.
    Deafness,
}

/// A seed that is moved by a script.
#[derive(Clone)]
pub(super) struct Puppet {
    pub(super) torrent: Arc<(Metainfo, Vec<u8>)>,
    pub(super) name: u8,
    /// Bytes that it says.
    pub(super) says: usize,
    pub(super) then: Then,
    /// Its blocks are not the torrent's.
    pub(super) lies: bool,
    /// Where the messages that it said end, in bytes.
    pub(super) ends: Arc<Mutex<Vec<usize>>>,
}

/// It is over.
struct Over;

impl Puppet {
    pub(super) fn new(torrent: &Arc<(Metainfo, Vec<u8>)>, name: u8) -> Self {
        Self {
            torrent: torrent.clone(),
            name,
            says: usize::MAX,
            then: Then::Silence,
            lies: false,
            ends: Arc::default(),
        }
    }

    /// Plays until the other end hangs up, or for ever.
    pub(super) async fn play(self, link: Link, role: Role) {
        let mut stage = Stage { puppet: self, link, said: 0, came: BytesMut::new(), metadata_id: None };
        // How it ends is seen by the other end.
        let _ = stage.play(role).await;
    }

    fn handshake(&self) -> Handshake {
        Handshake {
            reserved: Reserved::default().with_extensions(),
            info_hash: self.torrent.0.info().info_hashes().wire(),
            peer_id: PeerId::new("PU", [0; 4], [self.name; 12]),
        }
    }

    fn info(&self) -> Bytes {
        Bytes::from_owner(self.torrent.0.info().shared_bytes())
    }
}

struct Stage {
    puppet: Puppet,
    link: Link,
    said: usize,
    came: BytesMut,
    /// What the other end calls `ut_metadata`.
    metadata_id: Option<u8>,
}

impl Stage {
    async fn play(&mut self, role: Role) -> Result<(), Over> {
        let ours = self.puppet.handshake().encode();
        if role == Role::Dials {
            self.say(&ours).await?;
        }
        while self.came.len() < ours.len() {
            self.hear().await?;
        }
        let _theirs = self.came.split_to(ours.len());
        if role == Role::IsDialled {
            self.say(&ours).await?;
        }
        let extensions = extension::ExtensionHandshake {
            m: [(UT_METADATA.to_owned(), 1)].into(),
            metadata_size: u32::try_from(self.puppet.info().len()).ok(),
            ..extension::ExtensionHandshake::default()
        };
        self.tell(&Message::Extended { id: 0, payload: extensions.encode().into() }).await?;
        let layout = self.puppet.torrent.0.info().layout().clone();
        let mut bits = vec![0; (layout.piece_count() as usize).div_ceil(8)];
        layout.pieces().for_each(|piece| bits[piece.as_usize() / 8] |= 0x80 >> (piece.get() % 8));
        self.tell(&Message::Bitfield(bits.into())).await?;
        loop {
            match decode(&mut self.came) {
                Ok(Some(message)) => self.answer(message).await?,
                Ok(None) => self.hear().await?,
                Err(_) => return Err(Over),
            }
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Over> {
        match message {
            Message::Interested => self.tell(&Message::Unchoke).await,
            Message::Request { piece, begin, length } => {
                let at = piece as usize * PIECE + begin as usize;
                let mut data = self.puppet.torrent.1[at..][..length as usize].to_vec();
                if self.puppet.lies {
                    data[0] ^= 1;
                }
                self.tell(&Message::Piece { piece, begin, data: data.into() }).await
            }
            Message::Extended { id: 0, payload } => {
                let theirs = extension::ExtensionHandshake::decode(&payload).map_err(|_| Over)?;
                self.metadata_id = theirs.id(UT_METADATA);
                Ok(())
            }
            Message::Extended { id: 1, payload } => {
                let Ok(Some(Metadata::Request { part })) = Metadata::decode(&payload) else { return Ok(()) };
                let info = self.puppet.info();
                let from = (part * PART_LENGTH) as usize;
                let mut data = info.slice(from..info.len().min(from + PART_LENGTH as usize)).to_vec();
                if self.puppet.lies {
                    data[0] ^= 1;
                }
                let total_size = u32::try_from(info.len()).map_err(|_| Over)?;
                let payload = Metadata::Data { part, total_size, data: data.into() }.encode().into();
                let Some(id) = self.metadata_id else { return Ok(()) };
                self.tell(&Message::Extended { id, payload }).await
            }
            _ => Ok(()),
        }
    }

    async fn tell(&mut self, message: &Message) -> Result<(), Over> {
        let mut bytes = BytesMut::new();
        encode(message, &mut bytes);
        self.say(&bytes).await
    }

    /// Says as much of it as it may.
    async fn say(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let left = self.puppet.says - self.said;
        let mut now = bytes[..bytes.len().min(left)].to_vec();
        self.link.write_all(&mut now).await.map_err(|_| Over)?;
        self.said += now.len();
        self.puppet.ends.lock().unwrap_or_else(PoisonError::into_inner).push(self.said);
        if now.len() == bytes.len() {
            return Ok(());
        }
        match self.puppet.then {
            Then::HangUp => Err(Over),
            Then::Deafness => std::future::pending().await,
            Then::Silence => loop {
                self.hear().await?;
                self.came.clear();
            },
        }
    }

    async fn hear(&mut self) -> Result<(), Over> {
        let mut buffer = [0; 4096];
        match self.link.read(&mut buffer).await {
            Ok(0) | Err(_) => Err(Over),
            Ok(count) => {
                self.came.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}
