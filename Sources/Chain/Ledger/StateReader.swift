// The state is a map from 32-byte keys to dag-cbor values, committed to by a sparse Merkle tree whose nodes are stored
// under their hashes. The ledger reads both through these two doors and returns what to write; it stores nothing.

public import Primitives

/// Names one value of the state: SHA-256("openledger/1/state\n" ‖ kind ‖ 0x00 ‖ id). Being a hash, nobody chooses where in
/// the tree it lies except by grinding, which the depth bound makes harmless.
public struct StateKey: Hashable, Comparable, Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        case account, allowance, candidate, candidates, asset, parameters, chain, committee, evidence
    }

    public let digest: Digest

    public init(digest: Digest) { self.digest = digest }

    public init(_ kind: Kind, _ id: [UInt8] = []) {
        digest = Digest(sha256Of: [Array("openledger/1/state\n\(kind.rawValue)".utf8), [0], id])
    }

    public static func account(_ account: AccountID) -> StateKey { StateKey(.account, account.bytes) }
    public static func allowance(_ allowance: AllowanceID) -> StateKey { StateKey(.allowance, allowance.digest.bytes) }
    public static func candidate(_ account: AccountID) -> StateKey { StateKey(.candidate, account.bytes) }
    public static func asset(_ cid: CID) -> StateKey { StateKey(.asset, cid.bytes) }
    public static let candidates = StateKey(.candidates)
    public static let parameters = StateKey(.parameters)
    public static let chain = StateKey(.chain)
    public static let committee = StateKey(.committee)

    /// One offence: an account's equivocation in one view of one height.
    static func evidence(_ account: AccountID, height: UInt64, view: UInt64) -> StateKey {
        StateKey(.evidence, CBOR.array([.account(account), .unsigned(height), .unsigned(view)]).encoded())
    }

    public static func < (left: StateKey, right: StateKey) -> Bool { left.digest < right.digest }
}

package enum StateFault: Error, Hashable, Sendable {
    /// The tree names a node that the store does not have, or that is not what its hash says.
    case missingNode(Digest)
    case damagedNode(Digest)
    case missingValue(StateKey)
    case damagedValue(StateKey)
    case tooDeep
    /// What the store said of its own fault.
    case store(String)
}

package protocol NodeReader {
    /// The bytes of the tree node with this hash; nil if it is not there.
    func node(_ digest: Digest) throws(StateFault) -> [UInt8]?
}

package protocol StateReader: NodeReader {
    /// Root of the tree that the values below belong to; `Digest.zero` when there is none.
    var stateRoot: Digest { get }
    func value(_ key: StateKey) throws(StateFault) -> [UInt8]?
}

/// A state in memory: for genesis, for the simulator, for tests. Stale nodes are dropped at once.
package struct MemoryState: StateReader, Sendable {
    package private(set) var stateRoot: Digest
    package private(set) var values: [StateKey: [UInt8]] = [:]
    package private(set) var nodes: [Digest: [UInt8]] = [:]

    package init() { stateRoot = .zero }

    /// What an earlier run wrote down of `apply`'s write sets.
    package init(root: Digest, values: [StateKey: [UInt8]], nodes: [Digest: [UInt8]]) {
        stateRoot = root
        self.values = values
        self.nodes = nodes
    }

    package func node(_ digest: Digest) -> [UInt8]? { nodes[digest] }
    package func value(_ key: StateKey) -> [UInt8]? { values[key] }

    package mutating func apply(_ transition: Transition) {
        for digest in transition.stale { nodes[digest] = nil }
        for (digest, bytes) in transition.nodes { nodes[digest] = bytes }
        for (key, value) in transition.writes { values[key] = value }
        stateRoot = transition.stateRoot
    }
}
