// Who is asking. The doorkeeper holds digests of secrets, never the secrets, and the page's sessions:
//
//     mint ──▶ code ──exchange──▶ session ──use──▶ session (idle time starts again)
//                │ spent, or an hour old             │ ended, 12 h idle, or pushed out by newer ones
//                ▼                                   ▼
//              gone                                gone

import Primitives
import Synchronization

/// What a request may do because of what it brought along. Protocol/api.md section 2.
enum Authority: Sendable, Hashable {
    case none
    /// An API key, by its digest.
    case key(Digest)
    case session
    /// The home token, or the Unix socket.
    case home

    /// Whether it may whatever the owner may. A key may spend as far as its own limit says (`KeyBook`).
    var isOwner: Bool { self == .home || self == .session }

    var name: String {
        switch self {
        case .none: "none"
        case .key: "key"
        case .session: "session"
        case .home: "home"
        }
    }
}

/// Codes and sessions, as a value: time is an argument.
struct SessionTable: Sendable {
    private struct Entry {
        let digest: Digest
        var expires: Instant
    }

    private var codes: [Entry] = []
    private var sessions: [Entry] = []
    private let limits: GatewayLimits

    init(limits: GatewayLimits) { self.limits = limits }

    mutating func addCode(_ code: Digest, now: Instant) {
        codes.removeAll { $0.expires < now }
        if codes.count >= limits.codesMax { codes.removeFirst() }
        codes.append(Entry(digest: code, expires: now + limits.codeLife))
    }

    /// Spends `code` for `session`.
    /// - Returns: false where the code is unknown, spent or too old.
    mutating func exchange(_ code: Digest, for session: Digest, now: Instant) -> Bool {
        codes.removeAll { $0.expires < now }
        guard let index = codes.firstIndex(where: { $0.digest == code }) else { return false }
        codes.remove(at: index)
        sessions.removeAll { $0.expires < now }
        if sessions.count >= limits.sessionsMax { sessions.removeFirst() }
        sessions.append(Entry(digest: session, expires: now + limits.sessionIdle))
        return true
    }

    mutating func use(_ session: Digest, now: Instant) -> Bool {
        guard let index = sessions.firstIndex(where: { $0.digest == session }), now < sessions[index].expires else {
            return false
        }
        sessions[index].expires = now + limits.sessionIdle
        return true
    }

    mutating func end(_ session: Digest) { sessions.removeAll { $0.digest == session } }
}

final class Doorkeeper: Sendable {
    private let homeToken: Digest
    private let apiKeys: Set<Digest>
    private let keys: KeyDesk
    private let sessions: Mutex<SessionTable>
    private let start = ContinuousClock.now
    let limits: GatewayLimits

    init(homeToken: HomeToken, apiKeys: Set<Digest>, keys: KeyDesk, limits: GatewayLimits) {
        self.homeToken = homeToken.digest
        self.apiKeys = apiKeys
        self.keys = keys
        self.limits = limits
        sessions = Mutex(SessionTable(limits: limits))
    }

    private var now: Instant {
        let passed = (ContinuousClock.now - start).components
        return Instant(nanoseconds: UInt64(clamping: passed.seconds) * 1_000_000_000)
    }

    /// - Parameter bearer: what follows `Bearer ` in `Authorization`.
    /// - Returns: nil where it names one of our secrets and is not, or no longer, one.
    func authority(bearer: String?) -> Authority? {
        guard let bearer, bearer.utf8.count <= Secret.textBytesMax else { return bearer == nil ? Authority.none : nil }
        let digest = Secret(text: bearer).digest
        if digest == homeToken { return .home }
        if apiKeys.contains(digest) || keys.isKey(digest) { return .key(digest) }
        if bearer.hasPrefix(Secret.Kind.sessionToken.rawValue) {
            let now = now
            return sessions.withLock { $0.use(digest, now: now) } ? .session : nil
        }
        let claimsToBeOurs = Secret.Kind.allCases.contains { bearer.hasPrefix($0.rawValue) }
        return claimsToBeOurs ? nil : Authority.none
    }

    func mintCode() -> Secret {
        let code = Secret.drawn(.loginCode)
        let now = now
        sessions.withLock { $0.addCode(code.digest, now: now) }
        return code
    }

    /// - Returns: the session's token, or nil where the code is spent or unknown.
    func exchange(code: String) -> Secret? {
        guard code.utf8.count <= Secret.textBytesMax else { return nil }
        let session = Secret.drawn(.sessionToken)
        let now = now
        let isGood = sessions.withLock { $0.exchange(Secret(text: code).digest, for: session.digest, now: now) }
        return isGood ? session : nil
    }

    func endSession(bearer: String) {
        let digest = Secret(text: bearer).digest
        sessions.withLock { $0.end(digest) }
    }
}
