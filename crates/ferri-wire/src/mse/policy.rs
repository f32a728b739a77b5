//! What we say and take when a connection could be encrypted.

/// How much a session wants encryption. The order is that of the wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encryption {
    /// Plain connections only: the key exchange is neither begun nor answered.
    Disable,
    /// Plain first. A peer that wants the key exchange gets it, and an encrypted stream if it insists on that.
    #[default]
    Allow,
    /// Encrypted first. Plain connections are made and taken where there is no other way.
    Prefer,
    /// Encrypted connections only, in both directions.
    Require,
}

/// What follows the key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The stream as it is.
    Plaintext,
    /// All of the stream encrypted.
    Rc4,
}

impl Method {
    const PLAINTEXT_BIT: u32 = 1;
    const RC4_BIT: u32 = 2;

    pub(super) fn bit(self) -> u32 {
        match self {
            Self::Plaintext => Self::PLAINTEXT_BIT,
            Self::Rc4 => Self::RC4_BIT,
        }
    }

    /// The method that this number stands for alone; `None` also for several.
    pub(super) fn of(bits: u32) -> Option<Self> {
        match bits {
            Self::PLAINTEXT_BIT => Some(Self::Plaintext),
            Self::RC4_BIT => Some(Self::Rc4),
            _ => None,
        }
    }
}

impl Encryption {
    /// What a dialer of ours offers, as `crypto_provide` has it. Plaintext is not offered where encryption is preferred, because
    /// libtorrent, aria2 and rtorrent choose that wherever it is offered.
    pub(super) fn provides(self) -> u32 {
        match self {
            Self::Disable => 0,
            Self::Allow => Method::PLAINTEXT_BIT | Method::RC4_BIT,
            Self::Prefer | Self::Require => Method::RC4_BIT,
        }
    }

    /// What a listener of ours chooses of what was offered.
    pub(super) fn choose(self, provided: u32) -> Option<Method> {
        let in_order: &[Method] = match self {
            Self::Disable => &[],
            // An encrypted stream costs both sides, and a peer that offers both asks for neither.
            Self::Allow => &[Method::Plaintext, Method::Rc4],
            Self::Prefer => &[Method::Rc4, Method::Plaintext],
            Self::Require => &[Method::Rc4],
        };
        in_order.iter().copied().find(|method| provided & method.bit() != 0)
    }
}
