// The chain: batches, committee, supply, accounts and their histories, transactions.

import Gateway
import Ledger
import NodeCore
import Primitives
import Storage

struct Balance: Sendable {
    var free = Amount.zero
    var locked = Amount.zero
    var staked = Amount.zero
    var pending = Amount.zero
    var unbonding = Amount.zero
    var claimable = Amount.zero
    var nonce: UInt64 = 0
    var height: UInt64 = 0
}

func sum(_ amounts: some Sequence<Amount>) -> Amount {
    // Parts of one supply: their sum is within it.
    amounts.reduce(.zero) { (try? $0.adding($1)) ?? $0 }
}

extension PeerService {
    // MARK: batches

    func batches(_ page: ListPage) async throws(NodeFault) -> JSONValue {
        var height = try await read { $0.height }
        if let cursor = page.cursor {
            guard let place = UInt64(cursor) else {
                throw NodeFault(
                    .invalid, "cursor is not one that an answer gave as \"next\"", param: "cursor",
                    code: "invalid_cursor")
            }
            height = min(height, place)
        }
        var shown: [JSONValue] = []
        while height > 0, shown.count < max(1, min(page.limit, 200)) {
            if let batch = try storedBatch(height) { shown.append(try json(batch)) }
            height -= 1
        }
        return .object(["batches": .array(shown), "next": height > 0 ? .string("\(height)") : .null])
    }

    func storedBatch(_ height: UInt64) throws(NodeFault) -> CertifiedBatch? {
        try stored { () throws(StorageFault) -> CertifiedBatch? in try peer.store.batch(height) }
    }

    func batch(_ height: UInt64) async throws(NodeFault) -> JSONValue {
        guard let batch = try storedBatch(height) else {
            let tip = try await read { $0.height }
            throw NodeFault.missing(
                height == 0
                    ? "batch 0 is the genesis; batches begin at 1"
                    : "there is no batch \(height); the newest is \(tip)",
                code: "batch_not_found")
        }
        let contents = batch.batch.contents
        return try json(batch).adding([
            JSONMember("receipt_ids", .strings(contents.receipts.map(\.id.hex))),
            JSONMember("transaction_ids", .strings(contents.transactions.map(\.id.hex))),
        ])
    }

    func json(_ batch: CertifiedBatch) throws(NodeFault) -> JSONValue {
        let header = batch.header
        let contents = batch.batch.contents
        let committee = try stored { () throws(StorageFault) -> Committee? in try epochs.committee(of: header) }
        let signers = committee.flatMap { try? batch.certificate.signers(of: $0) } ?? []
        let fees = sum(contents.receipts.map(\.receipt.amount) + contents.transactions.map(\.transaction.fee))
        return .object([
            "height": .integer(header.height), "header": .string(header.digest.hex),
            "parent": .string(header.parent.hex),
            "view": .integer(header.view), "epoch": .integer(header.epoch), "time_ms": .time(header.time),
            "builder": .string(header.proposer.text), "receipts": .integer(header.receiptCount),
            "transactions": .integer(header.transactionCount), "state_root": .string(header.stateRoot.hex),
            "receipts_root": .string(header.receiptsRoot.hex),
            "certificate": .object([
                "signers": .strings(signers.map(\.account.text)),
                "seats": .integer(signers.reduce(UInt64(0)) { $0 + $1.seats }), "of": .integer(committee?.seats ?? 0),
            ]),
            "fees": .amount(fees),
        ])
    }

    func committee() async throws(NodeFault) -> JSONValue {
        let (committee, height, record, stakes) = try await read { node in
            (
                node.committee, node.height, node.chainRecord,
                node.committee.members.map { node.accountState($0.account).staked }
            )
        }
        return .object([
            "epoch": .integer(committee.epoch), "height": .integer(height),
            "seats": .array(
                zip(committee.members, stakes).map { member, stake in
                    .object([
                        "peer": .string(member.account.text), "seats": .integer(member.seats), "stake": .amount(stake),
                    ])
                }), "total_seats": .integer(committee.seats), "quorum": .integer(committee.quorum),
            "next_epoch_height": record.map { .integer($0.epochEnd) } ?? .null,
        ])
    }

    func supply() async throws(NodeFault) -> JSONValue {
        let supply = try await read { $0.tip.supply }
        return .object([
            "genesis": .amount(peer.genesis.total), "free": .amount(supply.free), "locked": .amount(supply.locked),
            "staked": .amount(supply.staked), "treasury": .amount(supply.treasury), "bridged": .amount(supply.bridged),
            "burned": .amount(supply.burned),
        ])
    }

    // MARK: accounts

    func accountID(_ text: String, param: String = "account") throws(NodeFault) -> AccountID {
        if text == "me" { return handle.account }
        guard let account = AccountID(text: text) else {
            throw NodeFault(
                .invalid, "\"\(text.prefix(80))\" is no account; one looks like 12D3Koo…, your own is me", param: param,
                code: "invalid_value")
        }
        return account
    }

    func balance(of id: AccountID) async throws(NodeFault) -> Balance {
        var balance = try await read { node in
            let account = node.accountState(id)
            var balance = Balance()
            balance.free = account.free
            balance.staked = account.staked
            balance.locked = node.locked(of: id)
            balance.claimable = sum(account.unbonding.filter { $0.height <= node.height }.map(\.amount))
            balance.unbonding = sum(account.unbonding.filter { $0.height > node.height }.map(\.amount))
            balance.nonce = account.nonce
            balance.height = node.height
            return balance
        }
        if id == handle.account { balance.pending = try await pendingEarnings() }
        return balance
    }

    func account(_ text: String) async throws(NodeFault) -> JSONValue {
        let id = try accountID(text)
        let balance = try await balance(of: id)
        return .object([
            "account": .string(id.text),
            "balance": .object([
                "free": .amount(balance.free), "locked": .amount(balance.locked), "staked": .amount(balance.staked),
                "pending": .amount(balance.pending), "unbonding": .amount(balance.unbonding),
                "claimable": .amount(balance.claimable),
            ]), "nonce": .integer(balance.nonce), "height": .integer(balance.height),
        ])
    }

    func history(_ text: String, _ page: ListPage) async throws(NodeFault) -> JSONValue {
        let id = try accountID(text)
        let entries = try stored { () throws(StorageFault) -> [(key: [UInt8], value: [UInt8])] in
            try peer.store.all(.history, prefix: id.bytes)
        }
        let cut = try PageCut(page, of: entries.count)
        var shown: [JSONValue] = []
        // Newest first.
        for offset in cut.range {
            guard let value = try? CBOR.decode(entries[entries.count - 1 - offset].value),
                let entry = try? HistoryEntry(cbor: value)
            else { continue }
            shown.append(try json(entry))
        }
        return .object(["entries": .array(shown), "next": cut.next])
    }

    func json(_ entry: HistoryEntry) throws(NodeFault) -> JSONValue {
        let batch = try storedBatch(entry.height)
        let receipt = batch?.batch.contents.receipts.first { $0.id == entry.reference }?.receipt
        let transaction = batch?.batch.contents.transactions.first { $0.id == entry.reference }?.transaction
        var counterparty: AccountID?
        if let receipt { counterparty = receipt.payer == entry.account ? receipt.server : receipt.payer }
        if let transaction {
            counterparty = transaction.sender
            if transaction.sender == entry.account {
                counterparty = nil
                if case .transfer(let to, _) = transaction.action { counterparty = to }
                if case .openAllowance(let server, _, _) = transaction.action { counterparty = server }
            }
        }
        return .object([
            "height": .integer(entry.height), "time_ms": .time(batch?.header.time ?? peer.genesis.time),
            "kind": .string(Self.historyName(entry.kind)), "amount": .amount(entry.amount),
            "sign": .string(entry.gained ? "+" : "-"), "counterparty": .text(counterparty?.text),
            "reference": .string(entry.reference.hex), "note": .string(Self.note(entry.kind)),
        ])
    }

    private static func historyName(_ kind: HistoryKind) -> String {
        switch kind {
        case .served, .model, .adapter, .contributor, .committee: "fee_share"
        case .allowanceOpened: "allowance_opened"
        case .allowanceClosed: "allowance_closed"
        default: kind.rawValue
        }
    }

    static func note(_ kind: HistoryKind) -> String {
        switch kind {
        case .genesis: "from the network's beginning"
        case .faucet: "from the faucet"
        case .fee: "fee of a transaction"
        case .sent: "sent"
        case .received: "received"
        case .allowanceOpened: "locked for a server"
        case .allowanceClosed: "given back by an allowance"
        case .served: "for an answer served"
        case .model: "owner of the model"
        case .adapter: "owner of the adapter"
        case .contributor: "contributor of the data"
        case .committee: "for sequencing"
        case .reward: "for proving an offence"
        case .staked: "staked"
        case .unstaked: "begins to unbond"
        case .claimed: "free again"
        case .slashed: "lost of the stake"
        }
    }

    // MARK: transactions

    func transact(_ action: Action, _ wait: Bool) async throws(NodeFault) -> JSONValue {
        switch await handle.perform(.transact(action, wait: wait)) {
        case .transaction(let id, let state): return Self.json(transaction: id, state)
        case .failed(let failure): throw NodeFault(failure)
        default: throw NodeFault(.broken, "the node gave no answer to a transaction", code: "internal")
        }
    }

    static func json(transaction id: Digest, _ state: ItemState) -> JSONValue {
        var (name, batch, refusal) = ("pooled", JSONValue.null, JSONValue.null)
        switch state {
        case .pooled: break
        case .batched(let height): (name, batch) = ("batched", .integer(height))
        case .refused(let reason): (name, refusal) = ("refused", .string(reason))
        }
        return .object(["transaction": .string(id.hex), "state": .string(name), "batch": batch, "refusal": refusal])
    }

    func transaction(_ text: String) async throws(NodeFault) -> JSONValue {
        let id = try digest(text, "transaction")
        if let height = try stored({ () throws(StorageFault) -> [UInt8]? in
            try peer.store.value(.transactions, id.bytes)
        }) {
            return Self.json(transaction: id, .batched(Self.number(height.prefix(8))))
        }
        let (isPooled, refusal) = try await read { ($0.isPooled(transaction: id), $0.refusal(ofTransaction: id)) }
        if let refusal { return Self.json(transaction: id, .refused("\(refusal)")) }
        guard isPooled else {
            throw NodeFault.missing("there is no transaction \(id.hex) here", code: "transaction_not_found")
        }
        return Self.json(transaction: id, .pooled)
    }

    func digest(_ text: String, _ what: String) throws(NodeFault) -> Digest {
        guard let digest = Hex.decode(text).flatMap({ Digest($0) }) else {
            throw NodeFault(
                .invalid, "the id of a \(what) is 64 hexadecimal digits", param: what, code: "invalid_value")
        }
        return digest
    }

    /// Big-endian.
    static func number(_ bytes: some Collection<UInt8>) -> UInt64 { bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }

    func transfer(_ to: String, _ amount: Amount, _ wait: Bool) async throws(NodeFault) -> JSONValue {
        let account = try accountID(to, param: "to")
        guard account != handle.account else {
            throw NodeFault(.invalid, "this is your own account", param: "to", code: "own_account")
        }
        return try await transact(.transfer(to: account, amount: amount), wait)
    }

    /// Stakes, and stands for election where this account does not yet.
    func stake(_ amount: Amount, _ wait: Bool) async throws(NodeFault) -> JSONValue {
        let answer = try await transact(.stake(amount), wait)
        let account = handle.account
        if try await read({ $0.candidate(account) == nil }) {
            let grant = KeyGrant(peer.key, for: account, as: .signer, network: peer.genesis.network)
            _ = await handle.perform(.transact(.registerCandidate(grant), wait: wait))
        }
        return answer
    }

    func faucet(_ text: String?) async throws(NodeFault) -> JSONValue {
        guard let faucet = peer.genesis.faucet else { throw NodeFault(.noFaucet) }
        if let text {
            guard try accountID(text) == handle.account else {
                throw NodeFault(
                    .forbidden,
                    "an account takes from the faucet itself: run openledger account faucet at its own peer, or send it some with openledger account transfer",
                    param: "account", code: "not_own_account")
            }
        }
        let account = handle.account
        guard try await read({ !$0.accountState(account).tookFaucet }) else { throw NodeFault(.faucetTaken) }
        return try await transact(.faucet, false).adding([JSONMember("amount", .amount(faucet.amount))])
    }
}
