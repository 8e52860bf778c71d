// The values of the state, each a dag-cbor map with its kind, so that a walk over the tree can read what it meets.

package import Primitives

package struct Unbonding: Hashable, Sendable {
    package var amount: Amount
    /// The first height at which `claim` frees it.
    package var height: UInt64
}

/// An account. One that never had anything has no entry and reads as `Account()`.
package struct Account: Hashable, Sendable {
    package var nonce: UInt64 = 0
    package var free: Amount = .zero
    package var staked: Amount = .zero
    package var unbonding: [Unbonding] = []
    /// OPEN burned by the answers that this account served: the contribution that counts in elections.
    package var contribution: Amount = .zero
    /// nil: the founding key.
    package var owner: PublicKey?
    /// nil: the owner's key.
    package var signer: PublicKey?
    package var payer: PublicKey?
    /// Where earnings go; nil: here.
    package var payout: AccountID?
    package var tookFaucet = false

    package init() {}

    /// Whether `key` may act for this account, whose id is `account`, in `role`.
    package func authorises(_ key: PublicKey, as role: KeyRole, of account: AccountID) -> Bool {
        let owner = self.owner ?? account.foundingKey
        return switch role {
        case .owner: key == owner
        case .signer: key == owner || key == signer
        case .payer: key == owner || key == payer
        }
    }
}

package struct Allowance: Hashable, Sendable {
    package var payer: AccountID
    package var server: AccountID
    /// The most that can ever be settled.
    package var limit: Amount
    /// The last height at which the server can settle.
    package var expiry: UInt64
    package var settled: Amount = .zero
    /// Of the last receipt or voucher that was settled; 0 before the first.
    package var sequence: UInt64 = 0
}

package struct CandidateRecord: Hashable, Sendable {
    package var key: PublicKey
    /// Keys that voted before, newest last: evidence against them still counts.
    package var pastKeys: [PublicKey] = []
    /// The first and the last epoch for which this candidate may be drawn.
    package var eligibleFrom: UInt64
    package var liveThrough: UInt64
}

/// What the chain knows of itself.
package struct ChainRecord: Hashable, Sendable {
    package var height: UInt64
    package var epoch: UInt64
    /// The height of the last batch of this epoch.
    package var epochEnd: UInt64
    package var time: WallTime
    package var beacon: Digest
    package var supply: Supply
    /// Committee pay of this epoch, not yet divided; part of `supply.locked`.
    package var pot: Amount
    /// The genesis total.
    package var total: Amount
    package var faucet: Genesis.Faucet?
}

package enum StateValue: Hashable, Sendable {
    case account(Account)
    case allowance(Allowance)
    case candidate(CandidateRecord)
    /// Accounts that stand for election, ascending.
    case candidates([AccountID])
    case asset(AssetKind, owner: AccountID)
    case parameters(Parameters)
    case chain(ChainRecord)
    case committee(Committee)
    /// An offence that was punished, and when.
    case evidence(height: UInt64)

    package func encoded() -> [UInt8] { cbor.encoded() }

    private var cbor: CBOR {
        switch self {
        case .account(let account): .map(Self.pairs(account))
        case .allowance(let allowance):
            .map([
                "kind": .text("allowance"), "payer": .account(allowance.payer), "server": .account(allowance.server),
                "limit": .amount(allowance.limit), "expiry": .unsigned(allowance.expiry),
                "settled": .amount(allowance.settled), "sequence": .unsigned(allowance.sequence),
            ])
        case .candidate(let candidate):
            .map([
                "kind": .text("candidate"), "key": .publicKey(candidate.key),
                "pastKeys": .array(candidate.pastKeys.map(CBOR.publicKey)),
                "eligibleFrom": .unsigned(candidate.eligibleFrom), "liveThrough": .unsigned(candidate.liveThrough),
            ])
        case .candidates(let accounts):
            .map(["kind": .text("candidates"), "accounts": .array(accounts.map(CBOR.account))])
        case .asset(let kind, let owner):
            .map(["kind": .text("asset"), "type": .text(kind.rawValue), "owner": .account(owner)])
        case .parameters(let parameters):
            .map(["kind": .text("parameters"), "parameters": parameters.cbor])
        case .chain(let chain): .map(Self.pairs(chain))
        case .committee(let committee):
            .map(["kind": .text("committee"), "committee": committee.cbor])
        case .evidence(let height):
            .map(["kind": .text("evidence"), "height": .unsigned(height)])
        }
    }

    private static func pairs(_ account: Account) -> [(String, CBOR)] {
        var pairs: [(String, CBOR)] = [
            ("kind", .text("account")), ("nonce", .unsigned(account.nonce)), ("free", .amount(account.free)),
            ("staked", .amount(account.staked)), ("contribution", .amount(account.contribution)),
            ("tookFaucet", .bool(account.tookFaucet)),
            (
                "unbonding",
                .array(account.unbonding.map { .array([.amount($0.amount), .unsigned($0.height)]) })
            ),
        ]
        pairs.add("owner", ifPresent: account.owner.map(CBOR.publicKey))
        pairs.add("signer", ifPresent: account.signer.map(CBOR.publicKey))
        pairs.add("payer", ifPresent: account.payer.map(CBOR.publicKey))
        pairs.add("payout", ifPresent: account.payout.map(CBOR.account))
        return pairs
    }

    private static func pairs(_ chain: ChainRecord) -> [(String, CBOR)] {
        var pairs: [(String, CBOR)] = [
            ("kind", .text("chain")), ("height", .unsigned(chain.height)), ("epoch", .unsigned(chain.epoch)),
            ("epochEnd", .unsigned(chain.epochEnd)), ("time", .wallTime(chain.time)),
            ("beacon", .digest(chain.beacon)), ("supply", chain.supply.cbor), ("pot", .amount(chain.pot)),
            ("total", .amount(chain.total)),
        ]
        pairs.add(
            "faucet",
            ifPresent: chain.faucet.map { .map(["account": .account($0.account), "amount": .amount($0.amount)]) })
        return pairs
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "StateValue")
        switch try fields.text("kind", max: LedgerLimits.nameBytesMax) {
        case "account": self = .account(try Self.account(&fields))
        case "allowance":
            self = .allowance(
                Allowance(
                    payer: try fields.account("payer"), server: try fields.account("server"),
                    limit: try fields.amount("limit"), expiry: try fields.unsigned("expiry"),
                    settled: try fields.amount("settled"), sequence: try fields.unsigned("sequence")))
        case "candidate":
            let malformed = fields.fault("pastKeys", "holds something that is not a key")
            self = .candidate(
                CandidateRecord(
                    key: try fields.publicKey("key"),
                    pastKeys: try fields.items("pastKeys", max: LedgerLimits.pastKeysPerCandidateMax) {
                        item throws(CBORFault) in
                        guard case .bytes(let bytes) = item, let key = try? PublicKey(bytes) else { throw malformed }
                        return key
                    },
                    eligibleFrom: try fields.unsigned("eligibleFrom"),
                    liveThrough: try fields.unsigned("liveThrough")))
        case "candidates":
            let malformed = fields.fault("accounts", "holds something that is not an account")
            self = .candidates(
                try fields.items("accounts", max: LedgerLimits.candidatesMax) { item throws(CBORFault) in
                    guard case .bytes(let bytes) = item, let account = try? AccountID(bytes) else { throw malformed }
                    return account
                })
        case "asset":
            guard let kind = AssetKind(rawValue: try fields.text("type", max: LedgerLimits.nameBytesMax)) else {
                throw fields.fault("type", "is not model, adapter or datanet")
            }
            self = .asset(kind, owner: try fields.account("owner"))
        case "parameters": self = .parameters(try Parameters(cbor: try fields.value("parameters")))
        case "chain": self = .chain(try Self.chain(&fields))
        case "committee": self = .committee(try fields.object("committee"))
        case "evidence": self = .evidence(height: try fields.unsigned("height"))
        default: throw fields.fault("kind", "is not known")
        }
        try fields.finish()
    }

    private static func account(_ fields: inout CBORFields) throws(CBORFault) -> Account {
        var account = Account()
        account.nonce = try fields.unsigned("nonce")
        account.free = try fields.amount("free")
        account.staked = try fields.amount("staked")
        account.contribution = try fields.amount("contribution")
        account.tookFaucet = try fields.bool("tookFaucet")
        let malformed = fields.fault("unbonding", "holds something that is not [amount, height]")
        let limit = LedgerLimits.unbondingsPerAccountMax
        account.unbonding = try fields.items("unbonding", max: limit) { item throws(CBORFault) in
            guard case .array(let parts) = item, parts.count == 2, case .bytes(let units) = parts[0],
                case .unsigned(let height) = parts[1], let amount = Amount(bigEndian: units)
            else { throw malformed }
            return Unbonding(amount: amount, height: height)
        }
        account.owner = try fields.optional("owner") { fields throws(CBORFault) in try fields.publicKey("owner") }
        account.signer = try fields.optional("signer") { fields throws(CBORFault) in try fields.publicKey("signer") }
        account.payer = try fields.optional("payer") { fields throws(CBORFault) in try fields.publicKey("payer") }
        account.payout = try fields.optional("payout") { fields throws(CBORFault) in try fields.account("payout") }
        return account
    }

    private static func chain(_ fields: inout CBORFields) throws(CBORFault) -> ChainRecord {
        ChainRecord(
            height: try fields.unsigned("height"), epoch: try fields.unsigned("epoch"),
            epochEnd: try fields.unsigned("epochEnd"), time: try fields.wallTime("time"),
            beacon: try fields.digest("beacon"), supply: try Supply(cbor: try fields.value("supply")),
            pot: try fields.amount("pot"), total: try fields.amount("total"),
            faucet: try fields.optional("faucet") { fields throws(CBORFault) in
                var inner = try fields.fields("faucet")
                let faucet = Genesis.Faucet(account: try inner.account("account"), amount: try inner.amount("amount"))
                try inner.finish()
                return faucet
            })
    }
}
