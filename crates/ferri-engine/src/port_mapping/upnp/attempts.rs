//! What is asked for next when a router refuses. No I/O: chance is an argument.
//!
//! What routers refuse differs from one to the next, and their errors are as often wrong as right: a port that is taken, a
//! lease that ends where only permanent ones are known, a number outside that is not the one inside. Each wish is given up
//! in its turn, and what is asked for in the end is what the router can do.

/// So many requests for one port; a router that refuses all of them wants none.
const REQUESTS_MAX: u32 = 12;
/// Of them, for ports by chance.
const RANDOM_MAX: u32 = 6;

/// How long a mapping is to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// For a while; it is renewed.
    Ending,
    /// Until it is given back.
    Permanent,
}

/// Which port of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// This one.
    Port(u16),
    /// Any that is free, this one if it is (`AddAnyPortMapping`).
    Any(u16),
}

/// One request for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) outside: Outside,
    pub(super) lease: Lease,
}

/// The requests for one port, until one is granted.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Our port.
    internal: u16,
    now: Request,
    /// The service knows `AddAnyPortMapping`, and was not asked that way yet.
    may_ask_any: bool,
    /// Only our own port's number is granted.
    same_only: bool,
    made: u32,
    random: u32,
}

impl Attempts {
    /// Begins with the port that is wished for.
    pub(super) fn new(internal: u16, external: u16, has_any_port: bool, lease: Lease) -> Self {
        let now = Request { outside: Outside::Port(external), lease };
        Self { internal, now, may_ask_any: has_any_port, same_only: false, made: 1, random: 0 }
    }

    /// What to ask for.
    pub(super) fn request(&self) -> Request {
        self.now
    }

    /// It was refused with this error, if any. `false` when nothing is left to be asked for. `chance` is a port.
    pub(super) fn refused(&mut self, code: Option<u16>, chance: u16) -> bool {
        self.made += 1;
        if REQUESTS_MAX < self.made {
            return false;
        }
        match code {
            Some(ONLY_PERMANENT) => self.ask_permanent(),
            Some(SAME_PORTS) => self.ask_same(),
            Some(CONFLICT | CONFLICT_ELSEWHERE | NOT_AUTHORIZED | NO_PORT_FREE) => self.ask_other(chance),
            // The service cannot choose after all.
            Some(INVALID_ACTION | NOT_IMPLEMENTED) => self.ask_other(chance),
            // Whatever it means: routers that know no end of a lease say 402, 501, or nothing that could be read.
            _ => self.ask_permanent() || self.ask_other(chance),
        }
    }

    fn ask_permanent(&mut self) -> bool {
        std::mem::replace(&mut self.now.lease, Lease::Permanent) == Lease::Ending
    }

    fn ask_same(&mut self) -> bool {
        let same = Outside::Port(self.internal);
        self.same_only = true;
        std::mem::replace(&mut self.now.outside, same) != same
    }

    fn ask_other(&mut self, chance: u16) -> bool {
        if self.same_only {
            return false;
        }
        if std::mem::take(&mut self.may_ask_any) {
            self.now.outside = Outside::Any(chance);
            return true;
        }
        self.random += 1;
        self.now.outside = Outside::Port(chance);
        self.random <= RANDOM_MAX
    }
}

/// Errors of `AddPortMapping` and of all actions (WANIPConnection:1, section 2.4.16; WANIPConnection:2, section 2.5.16).
const INVALID_ACTION: u16 = 401;
const NOT_IMPLEMENTED: u16 = 602;
const NOT_AUTHORIZED: u16 = 606;
const CONFLICT: u16 = 718;
const SAME_PORTS: u16 = 724;
const ONLY_PERMANENT: u16 = 725;
const NO_PORT_FREE: u16 = 728;
const CONFLICT_ELSEWHERE: u16 = 729;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for one after the other by a wish for 7000 for our 6999, where each refusal is what `says` makes of the request.
    fn asked(has_any_port: bool, says: impl Fn(Request) -> Option<Option<u16>>) -> (Vec<Request>, bool) {
        let mut attempts = Attempts::new(6_999, 7_000, has_any_port, Lease::Ending);
        let mut asked = vec![attempts.request()];
        for chance in 20_000.. {
            let Some(code) = says(attempts.request()) else { return (asked, true) };
            if !attempts.refused(code, chance) {
                break;
            }
            asked.push(attempts.request());
        }
        (asked, false)
    }

    fn port(port: u16, lease: Lease) -> Request {
        Request { outside: Outside::Port(port), lease }
    }

    #[test]
    fn each_refusal_gives_up_what_is_refused() {
        use Lease::{Ending, Permanent};
        let ends = |request: Request| request.lease == Ending;
        let is_first = |request: Request| request.outside == Outside::Port(7_000);
        let check = |says: &dyn Fn(Request) -> Option<Option<u16>>, expected: &[Request]| {
            assert_eq!(asked(false, says), (expected.to_vec(), true));
        };
        check(&|_| None, &[port(7_000, Ending)]);
        for code in [Some(725), Some(402), Some(501), None] {
            let says = |request| ends(request).then_some(code);
            check(&says, &[port(7_000, Ending), port(7_000, Permanent)]);
        }
        check(
            &|request| is_first(request).then_some(Some(718)),
            &[port(7_000, Ending), port(20_000, Ending)],
        );
        let both = |request| {
            if ends(request) { Some(Some(725)) } else { is_first(request).then_some(Some(718)) }
        };
        check(&both, &[port(7_000, Ending), port(7_000, Permanent), port(20_001, Permanent)]);
        let same = |request: Request| (request.outside != Outside::Port(6_999)).then_some(Some(724));
        check(&same, &[port(7_000, Ending), port(6_999, Ending)]);
        let taken = |request| is_first(request).then_some(Some(501));
        check(&taken, &[port(7_000, Ending), port(7_000, Permanent), port(20_001, Permanent)]);
    }

    #[test]
    fn a_service_that_can_choose_is_asked_to() {
        let (requests, is_granted) = asked(true, |request| match request.outside {
            Outside::Port(_) => Some(Some(718)),
            Outside::Any(_) => None,
        });
        assert_eq!(requests[1].outside, Outside::Any(20_000));
        assert!(is_granted);
        let (requests, is_granted) = asked(true, |request| match request.outside {
            Outside::Port(7_000) => Some(Some(718)),
            Outside::Any(_) => Some(Some(602)),
            Outside::Port(_) => None,
        });
        assert!(is_granted && requests[2].lease == Lease::Ending, "{requests:?}");
    }

    #[test]
    fn a_router_that_wants_nothing_is_left_alone_soon() {
        for code in [Some(718), Some(724), Some(725), Some(606), Some(501), Some(9), None] {
            for has_any_port in [false, true] {
                let (requests, is_granted) = asked(has_any_port, |_| Some(code));
                assert!(!is_granted && requests.len() <= REQUESTS_MAX as usize, "{code:?}: {requests:?}");
            }
        }
    }
}
