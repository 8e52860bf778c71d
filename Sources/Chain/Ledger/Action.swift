// What a transaction can order, one case an order, and which key may order it.

public import Primitives

public enum Action: Hashable, Sendable {
    case transfer(to: AccountID, amount: Amount)
    /// Locks `limit` for `server` until `expiry`; the allowance's id is the transaction's.
    case openAllowance(server: AccountID, limit: Amount, expiry: UInt64)
    /// Gives back what is not settled: by the server at any time, by the payer after the expiry height.
    case closeAllowance(AllowanceID)
    /// Pays the server the payer's last voucher; by the server.
    case settleVoucher(SignedVoucher)
    case stake(Amount)
    /// Begins to unbond; `claim` frees it when the unbonding heights have passed.
    case unstake(Amount)
    case claim
    /// Stands for election with this voting key.
    case registerCandidate(KeyGrant)
    /// "I run": eligible for the committees up to two epochs after `epoch`, which must be the current one.
    case liveness(epoch: UInt64)
    /// Replaces keys or the payout account; what is nil stays.
    case delegate(owner: KeyGrant?, signer: KeyGrant?, payer: KeyGrant?, payout: AccountID?)
    case registerAsset(CID, kind: AssetKind)
    /// Two votes of one key that no honest member gives; the stake of `accused` is slashed.
    case evidence(accused: AccountID, first: SignedVote, second: SignedVote)
    /// Takes the faucet's sum, once an account, without fee; only where genesis names a faucet.
    case faucet

    /// The role whose key may order this; the owner's key always may.
    public var role: KeyRole {
        switch self {
        case .transfer, .stake, .unstake, .delegate: .owner
        case .openAllowance: .payer
        case .closeAllowance, .settleVoucher, .claim, .registerCandidate, .liveness, .registerAsset, .evidence, .faucet:
            .signer
        }
    }

    /// The name in the encoding and in histories.
    public var name: String {
        switch self {
        case .transfer: "transfer"
        case .openAllowance: "openAllowance"
        case .closeAllowance: "closeAllowance"
        case .settleVoucher: "settleVoucher"
        case .stake: "stake"
        case .unstake: "unstake"
        case .claim: "claim"
        case .registerCandidate: "registerCandidate"
        case .liveness: "liveness"
        case .delegate: "delegate"
        case .registerAsset: "registerAsset"
        case .evidence: "evidence"
        case .faucet: "faucet"
        }
    }

    var cbor: CBOR {
        var pairs: [(String, CBOR)] = [("type", .text(name))]
        switch self {
        case .transfer(let to, let amount):
            pairs += [("to", .account(to)), ("amount", .amount(amount))]
        case .openAllowance(let server, let limit, let expiry):
            pairs += [("server", .account(server)), ("limit", .amount(limit)), ("expiry", .unsigned(expiry))]
        case .closeAllowance(let allowance):
            pairs.append(("allowance", .digest(allowance.digest)))
        case .settleVoucher(let voucher):
            pairs.append(("voucher", voucher.cbor))
        case .stake(let amount), .unstake(let amount):
            pairs.append(("amount", .amount(amount)))
        case .registerCandidate(let grant):
            pairs.append(("grant", grant.cbor))
        case .liveness(let epoch):
            pairs.append(("epoch", .unsigned(epoch)))
        case .delegate(let owner, let signer, let payer, let payout):
            pairs.add("owner", ifPresent: owner?.cbor)
            pairs.add("signer", ifPresent: signer?.cbor)
            pairs.add("payer", ifPresent: payer?.cbor)
            pairs.add("payout", ifPresent: payout.map(CBOR.account))
        case .registerAsset(let cid, let kind):
            pairs += [("cid", .link(cid)), ("kind", .text(kind.rawValue))]
        case .evidence(let accused, let first, let second):
            pairs += [("accused", .account(accused)), ("first", first.cbor), ("second", second.cbor)]
        case .claim, .faucet:
            break
        }
        return .map(pairs)
    }

    init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Action")
        switch try fields.text("type", max: LedgerLimits.nameBytesMax) {
        case "transfer":
            self = .transfer(to: try fields.account("to"), amount: try fields.amount("amount"))
        case "openAllowance":
            self = .openAllowance(
                server: try fields.account("server"), limit: try fields.amount("limit"),
                expiry: try fields.unsigned("expiry"))
        case "closeAllowance":
            self = .closeAllowance(AllowanceID(try fields.digest("allowance")))
        case "settleVoucher":
            self = .settleVoucher(try fields.object("voucher"))
        case "stake":
            self = .stake(try fields.amount("amount"))
        case "unstake":
            self = .unstake(try fields.amount("amount"))
        case "claim":
            self = .claim
        case "registerCandidate":
            self = .registerCandidate(try KeyGrant(cbor: try fields.value("grant")))
        case "liveness":
            self = .liveness(epoch: try fields.unsigned("epoch"))
        case "delegate":
            func grant(_ key: String) throws(CBORFault) -> KeyGrant? {
                guard let value = fields.optionalValue(key) else { return nil }
                return try KeyGrant(cbor: value)
            }
            self = .delegate(
                owner: try grant("owner"), signer: try grant("signer"), payer: try grant("payer"),
                payout: try fields.optional("payout") { fields throws(CBORFault) in try fields.account("payout") })
        case "registerAsset":
            let cid = try fields.link("cid")
            guard let kind = AssetKind(rawValue: try fields.text("kind", max: LedgerLimits.nameBytesMax)) else {
                throw fields.fault("kind", "is not model, adapter or datanet")
            }
            self = .registerAsset(cid, kind: kind)
        case "evidence":
            self = .evidence(
                accused: try fields.account("accused"), first: try fields.object("first"),
                second: try fields.object("second"))
        case "faucet":
            self = .faucet
        default:
            throw fields.fault("type", "is not a known action")
        }
        try fields.finish()
    }
}
