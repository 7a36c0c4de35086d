//! The session home: the only judge of who is a client now.
//!
//! ```text
//!   acceptor            home                holder
//!      │── claim ───────▶│                     │
//!      │                 │── evict ───────────▶│  DISCONNECT 0x8E, close
//!      │                 │◀── gone ────────────│  when owners have its last publish
//!      │◀── verdict ─────│                     │
//!      │── answer ──────▶│                         kept, or gave up
//! ```
//! One shard decides for a client, in one order, so a takeover has no race. Until a verdict is answered only the newest
//! later claim is kept; older ones are refused.

use compact_str::CompactString;
use hashbrown::HashMap;
use shard::Effects;
use shard::mesh::{Inbound, ShardId};
use wire::mqtt::ReasonCode;

use super::parcel::{self, ANSWER, Answer, CLAIM, EVICT, GONE, MOVE, VERDICT, Verdict};
use crate::connection::close::Cause;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::journal::wait::Waiter;
use crate::planted::{Fault, planted};
use crate::switch::Switch;
use crate::topic::id_table::IdTable;
use crate::topic::paged::Paged;

/// The clients whose home this shard is, while somebody is or wants to be them.
pub struct Home {
    clients: Paged<Client>,
    by_id: IdTable,
    /// Whose clients are that somebody is, by row; only where there is access control.
    owners: HashMap<u32, u64, ahash::RandomState>,
    hasher: ahash::RandomState,
}

/// One client.
struct Client {
    /// The client identifier. One of 24 bytes or less takes no memory of its own.
    id: CompactString,
    /// Who is it now.
    holder: Option<Holder>,
    /// What is being decided.
    matter: Option<Box<Matter>>,
}

/// A connection of some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    shard: ShardId,
    connection: ConnectionId,
}

/// A decision under way.
struct Matter {
    stage: Stage,
    claim: Claim,
    /// The newest claim that came later.
    newest: Option<Claim>,
    /// Who it was offered to has gone already: that overtook its answer, which travels in another ring.
    left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The holder was told to let go.
    Evicting,
    /// The verdict is out; the slot that was reserved for it.
    Offered(Option<ConnectionId>),
}

/// A connection that wants to be a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its shard.
    pub shard: ShardId,
    /// The connection there.
    pub connection: ConnectionId,
    /// Clean Start.
    pub clean_start: bool,
    /// It asks for a session that outlives the connection.
    pub durable: bool,
    /// A number that stands for its user; 0: there is no access control.
    pub owner: u64,
}

/// What the home has decided about a claim.
pub struct Offer {
    client_id: CompactString,
    claim: Claim,
    verdict: Verdict,
    reserved: Option<ConnectionId>,
    reason: Option<ReasonCode>,
}

impl Offer {
    /// The claim is refused after all. Only for an offer that reserves nothing.
    pub fn refused(self, reason: ReasonCode) -> Offer {
        assert!(self.reserved.is_none(), "a session that lives here waits with its CONNACK");
        Offer { verdict: Verdict::Refuse, reason: Some(reason), ..self }
    }
}

impl Home {
    /// Nobody is anybody.
    pub fn new(hasher: ahash::RandomState) -> Home {
        let owners = HashMap::with_hasher(hasher.clone());
        Home { clients: Paged::default(), by_id: IdTable::default(), owners, hasher }
    }

    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.clients.len() == 0
    }

    /// The client, who is known from now on.
    fn client(&mut self, client_id: &str) -> &mut Client {
        let row = self.row(client_id).unwrap_or_else(|| {
            let row = self.clients.insert(Client { id: client_id.into(), holder: None, matter: None });
            self.by_id.insert(self.hasher.hash_one(client_id), row);
            row
        });
        &mut self.clients[row]
    }

    /// The client, if known.
    fn known(&mut self, client_id: &str) -> Option<&mut Client> {
        let row = self.row(client_id)?;
        Some(&mut self.clients[row])
    }

    /// Remembers whose a client is that somebody is now, or (0) forgets it. Whose it was before.
    fn set_owner(&mut self, client_id: &str, owner: u64) -> u64 {
        let before = match self.row(client_id) {
            Some(row) if owner != 0 => self.owners.insert(row, owner),
            Some(row) if !self.owners.is_empty() => self.owners.remove(&row),
            _ => None,
        };
        before.unwrap_or(0)
    }

    /// Whose a client is that somebody is or is about to be; 0: nobody's.
    fn owner(&self, client_id: &str) -> u64 {
        let Some(row) = self.row(client_id) else { return 0 };
        let wanted = self.clients[row].matter.as_ref().map(|matter| matter.claim.owner);
        wanted.or_else(|| self.owners.get(&row).copied()).unwrap_or(0)
    }

    /// Forgets a client that nobody is and nobody wants to be.
    fn forget(&mut self, client_id: &str) {
        let Some(row) = self.row(client_id) else { return };
        if self.clients[row].holder.is_none() && self.clients[row].matter.is_none() {
            self.by_id.remove(self.hasher.hash_one(client_id), row);
            self.clients.remove(row);
        }
    }

    fn row(&self, client_id: &str) -> Option<u32> {
        self.by_id.find(self.hasher.hash_one(client_id), |row| self.clients[row].id == *client_id)
    }
}

/// Bytes of the row of a client.
#[cfg(test)]
pub(crate) const CLIENT_BYTES: usize = crate::topic::paged::place_bytes::<Client>();

const CLEAN_START: u64 = 1;
const DURABLE: u64 = 2;

impl Switch {
    /// Asks the session home for a client.
    pub fn ask_home(&mut self, client_id: &str, claim: Claim, fx: &mut Effects) {
        let home = self.placement.home(client_id);
        if home == self.id {
            return self.asked(client_id, claim, fx);
        }
        let flags = (u64::from(claim.clean_start) * CLEAN_START) | (u64::from(claim.durable) * DURABLE);
        let words = [claim.connection.to_word(), flags, claim.owner];
        self.courier.send(&mut fx.tx, home, CLAIM, &words, &[client_id.as_bytes()]);
    }

    /// Tells the session home what became of its verdict.
    pub fn answer_home(&mut self, client_id: &str, connection: ConnectionId, answer: Answer, fx: &mut Effects) {
        let home = self.placement.home(client_id);
        if home == self.id {
            return self.answered(client_id, self.id, connection, answer, fx);
        }
        let words = [connection.to_word(), answer as u64];
        self.courier.send(&mut fx.tx, home, ANSWER, &words, &[client_id.as_bytes()]);
    }

    /// Tells the session home that a connection is not the client any more.
    pub fn leave_home(&mut self, client_id: &str, connection: ConnectionId, fx: &mut Effects) {
        let home = self.placement.home(client_id);
        if home == self.id {
            return self.gone(client_id, self.id, connection, fx);
        }
        self.courier.send(&mut fx.tx, home, GONE, &[connection.to_word()], &[client_id.as_bytes()]);
    }

    /// Takes what one shard says about clients off its rings, lowest rank last: what was decided goes before what is
    /// asked.
    pub fn drain_clients(&mut self, source: ShardId, rx: &mut Inbound, fx: &mut Effects) {
        while let Some(parcel) = rx.peek(source, ANSWER) {
            let connection = ConnectionId::from_word(parcel::word(&parcel, 0));
            let answer = if parcel::word(&parcel, 1) == Answer::Kept as u64 { Answer::Kept } else { Answer::GaveUp };
            self.answered(parcel::text(&parcel, 2), source, connection, answer, fx);
            rx.release(source, ANSWER);
        }
        while let Some(parcel) = rx.peek(source, MOVE) {
            let words = std::array::from_fn(|index| parcel::word(&parcel, index));
            self.arrived(words, parcel::body(&parcel, words.len()), fx);
            rx.release(source, MOVE);
        }
        while let Some(parcel) = rx.peek(source, VERDICT) {
            let [connection, verdict, reserved, reason] = std::array::from_fn(|index| parcel::word(&parcel, index));
            let (connection, reserved) = (ConnectionId::from_word(connection), ConnectionId::from_word(reserved));
            let verdict = Verdict::from_word(verdict);
            let reason = ReasonCode::from_u8(reason as u8).filter(|reason| reason.is_error());
            self.decided(parcel::text(&parcel, 4), connection, verdict, reserved, reason, fx);
            rx.release(source, VERDICT);
        }
        while let Some(parcel) = rx.peek(source, GONE) {
            let connection = ConnectionId::from_word(parcel::word(&parcel, 0));
            self.gone(parcel::text(&parcel, 1), source, connection, fx);
            rx.release(source, GONE);
        }
        while let Some(parcel) = rx.peek(source, EVICT) {
            let connection = ConnectionId::from_word(parcel::word(&parcel, 0));
            self.evict(connection, fx);
            rx.release(source, EVICT);
        }
        while let Some(parcel) = rx.peek(source, CLAIM) {
            let flags = parcel::word(&parcel, 1);
            let claim = Claim {
                shard: source,
                connection: ConnectionId::from_word(parcel::word(&parcel, 0)),
                clean_start: flags & CLEAN_START != 0,
                durable: flags & DURABLE != 0,
                owner: parcel::word(&parcel, 2),
            };
            self.asked(parcel::text(&parcel, 3), claim, fx);
            rx.release(source, CLAIM);
        }
    }

    /// Home: a connection asks to be a client.
    fn asked(&mut self, client_id: &str, claim: Claim, fx: &mut Effects) {
        if self.is_flapping(client_id, &claim) {
            let reason = Some(ReasonCode::ConnectionRateExceeded);
            return self.tell(client_id, claim, Verdict::Refuse, None, reason, fx);
        }
        self.claimed(client_id, claim, fx);
    }

    /// Home: somebody wants to be a client.
    fn claimed(&mut self, client_id: &str, claim: Claim, fx: &mut Effects) {
        if self.is_anothers(client_id, &claim) {
            return self.tell(client_id, claim, Verdict::Refuse, None, Some(ReasonCode::NotAuthorized), fx);
        }
        let client = self.home.client(client_id);
        match (&mut client.matter, client.holder) {
            (Some(matter), _) => {
                // The newest is the one that counts: what it replaces is refused.
                let older = match matter.stage {
                    Stage::Evicting => Some(std::mem::replace(&mut matter.claim, claim)),
                    Stage::Offered(_) => matter.newest.replace(claim),
                };
                if let Some(older) = older {
                    self.tell(client_id, older, Verdict::Refuse, None, None, fx);
                }
            }
            (None, Some(holder)) => {
                client.matter = Some(Box::new(Matter { stage: Stage::Evicting, claim, newest: None, left: false }));
                if holder.shard == self.id {
                    self.evict(holder.connection, fx);
                } else {
                    let words = [holder.connection.to_word()];
                    self.courier.send(&mut fx.tx, holder.shard, EVICT, &words, &[]);
                }
            }
            (None, None) => self.offer(client_id, claim, fx),
        }
    }

    /// Whether a client is another user's: it is connected, about to be, or has a session that waits for it. A session from
    /// before there was access control is whose client comes first.
    fn is_anothers(&self, client_id: &str, claim: &Claim) -> bool {
        if claim.owner == 0 || !self.binds_sessions() {
            return false;
        }
        let stored = || {
            let access = self.sessions.at(self.sessions.durable(client_id)?).access.as_ref()?;
            Some(self.owner_of(&access.identity))
        };
        let owner = match self.home.owner(client_id) {
            0 => stored().unwrap_or(0),
            owner => owner,
        };
        owner != 0 && owner != claim.owner
    }

    /// Home: nobody is the client; a verdict for who wants to be it. Its user has one client more from now on, until it
    /// gives up or has gone.
    fn offer(&mut self, client_id: &str, claim: Claim, fx: &mut Effects) {
        let refused = if self.count_user(claim.owner) {
            self.try_offer(client_id, claim, fx).inspect_err(|_| self.uncount_user(claim.owner))
        } else {
            Err(ReasonCode::QuotaExceeded)
        };
        if let Err(reason) = refused {
            self.tell(client_id, claim, Verdict::Refuse, None, Some(reason), fx);
            self.home.forget(client_id);
        }
    }

    fn try_offer(&mut self, client_id: &str, claim: Claim, fx: &mut Effects) -> Result<(), ReasonCode> {
        let mut stored = self.sessions.durable(client_id);
        if let Some(session) = stored.filter(|id| self.sessions.at(*id).ends() <= self.now) {
            // Its time is over, and its timer has not fired: it may have run out while the program was down.
            self.counters.add(Counter::ClientsExpired, 1);
            self.end_session(session, fx);
            stored = None;
        }
        if claim.clean_start
            && stored.is_some()
            && let Some(reason) = self.cannot_end()
        {
            // Clean Start wipes the session before it is acknowledged.
            return Err(reason);
        }
        if claim.clean_start
            && !planted(Fault::OldSessionKept)
            && let Some(session) = stored.take()
        {
            self.end_session(session, fx);
        }
        // It ended now, or a moment ago with its connection: that there is none is said when no crash can bring it back.
        let waits = stored.is_none() && self.journal.may_bring_back(self.placement.client_hash(client_id));
        if waits && !self.journal.notes_fit() {
            return Err(ReasonCode::ServerBusy);
        }
        let lives_here = claim.durable || stored.is_some();
        let full = claim.durable && stored.is_none() && self.sessions.durable_len() >= self.sessions_max();
        let (verdict, reserved) = if full {
            return Err(ReasonCode::QuotaExceeded);
        } else if !lives_here || claim.shard == self.id {
            (Verdict::Stay, None)
        } else {
            let slot = self.connections.take(Phase::Arriving).ok_or(ReasonCode::ServerBusy)?;
            (Verdict::Move, Some(slot))
        };
        let client = self.home.client(client_id);
        client.matter = Some(Box::new(Matter { stage: Stage::Offered(reserved), claim, newest: None, left: false }));
        let offer = Offer { client_id: client_id.into(), claim, verdict, reserved, reason: None };
        if lives_here || !waits {
            // Where a session lives here, its CONNACK waits for what is written of it, which is behind this.
            self.tell_offer(offer, fx);
        } else {
            self.journal.wait(self.journal.tail(), Waiter::Offer(Box::new(offer)));
        }
        Ok(())
    }

    /// Why the end of a session cannot be written now, if so.
    fn cannot_end(&self) -> Option<ReasonCode> {
        if self.journal.is_fenced() {
            Some(ReasonCode::ServerUnavailable)
        } else {
            (!self.journal.notes_fit()).then_some(ReasonCode::ServerBusy)
        }
    }

    /// Home: what was decided can be told.
    pub(crate) fn tell_offer(&mut self, offer: Offer, fx: &mut Effects) {
        let Offer { client_id, claim, verdict, reserved, reason } = offer;
        if verdict == Verdict::Refuse {
            // The journal failed after all: nobody is the client, or who came later.
            self.uncount_user(claim.owner);
            let newest = self.home.known(&client_id).and_then(|client| client.matter.take()).and_then(|m| m.newest);
            self.tell(&client_id, claim, verdict, None, reason, fx);
            return self.next_matter(&client_id, newest, fx);
        }
        self.tell(&client_id, claim, verdict, reserved, None, fx);
    }

    fn tell(
        &mut self,
        client_id: &str,
        claim: Claim,
        verdict: Verdict,
        reserved: Option<ConnectionId>,
        reason: Option<ReasonCode>,
        fx: &mut Effects,
    ) {
        let slot = reserved.unwrap_or(claim.connection);
        if claim.shard == self.id {
            return self.decided(client_id, claim.connection, verdict, slot, reason, fx);
        }
        let words =
            [claim.connection.to_word(), verdict as u64, slot.to_word(), reason.map_or(0, |reason| reason as u64)];
        self.courier.send(&mut fx.tx, claim.shard, VERDICT, &words, &[client_id.as_bytes()]);
    }

    /// Home: what became of a verdict. `connection` is that of the claim.
    fn answered(
        &mut self,
        client_id: &str,
        shard: ShardId,
        connection: ConnectionId,
        answer: Answer,
        fx: &mut Effects,
    ) {
        let Some(client) = self.home.known(client_id) else { return };
        let offered = client.matter.as_ref().is_some_and(|matter| {
            matches!(matter.stage, Stage::Offered(_))
                && (matter.claim.shard, matter.claim.connection) == (shard, connection)
        });
        if !offered {
            return;
        }
        let matter = client.matter.take().expect("it was offered");
        let Stage::Offered(reserved) = matter.stage else { unreachable!("it was offered") };
        match answer {
            Answer::Kept if matter.left => self.uncount_user(matter.claim.owner),
            Answer::Kept => {
                client.holder = Some(Holder { shard, connection });
                self.home.set_owner(client_id, matter.claim.owner);
            }
            Answer::GaveUp => {
                self.uncount_user(matter.claim.owner);
                if let Some(reserved) = reserved.filter(|_| !planted(Fault::ReservedSlotLeaked)) {
                    self.connections.free(reserved.slot);
                }
            }
        }
        self.next_matter(client_id, matter.newest, fx);
    }

    /// Home: a socket that was handed over serves the client here.
    pub fn moved_in(&mut self, client_id: &str, fx: &mut Effects) {
        let client = self.home.known(client_id).expect("the slot was reserved for this client");
        let matter = client.matter.take().expect("the slot was reserved for this client");
        if let Stage::Offered(Some(connection)) = matter.stage
            && !matter.left
        {
            client.holder = Some(Holder { shard: self.id, connection });
            self.home.set_owner(client_id, matter.claim.owner);
        } else {
            self.uncount_user(matter.claim.owner);
        }
        self.next_matter(client_id, matter.newest, fx);
    }

    /// Home: a connection is not the client any more.
    fn gone(&mut self, client_id: &str, shard: ShardId, connection: ConnectionId, fx: &mut Effects) {
        let Some(client) = self.home.known(client_id) else { return };
        if let Some(matter) = &mut client.matter
            && let Stage::Offered(reserved) = matter.stage
        {
            let who = match reserved {
                Some(reserved) => (self.id, reserved),
                None => (matter.claim.shard, matter.claim.connection),
            };
            matter.left |= who == (shard, connection);
        }
        if client.holder != Some(Holder { shard, connection }) {
            return;
        }
        client.holder = None;
        let claim = client.matter.take().map(|matter| matter.claim);
        let owner = self.home.set_owner(client_id, 0);
        self.uncount_user(owner);
        self.next_matter(client_id, claim, fx);
    }

    /// Home: the next claim, or nobody wants to be the client.
    fn next_matter(&mut self, client_id: &str, claim: Option<Claim>, fx: &mut Effects) {
        match claim {
            Some(claim) => self.claimed(client_id, claim, fx),
            None => self.home.forget(client_id),
        }
    }

    /// Holder: another connection is the client now.
    fn evict(&mut self, connection: ConnectionId, fx: &mut Effects) {
        if self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Open) {
            self.close(connection.slot, Cause::TakenOver, fx);
        }
        // If it is not open it is closing, and says so itself.
    }
}
