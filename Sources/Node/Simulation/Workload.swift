// What people at the peers do: pay each other, ask each other, found datanets, add to them and pull them. And the answers
// that the servers' models would have given.

import Datanets
import Ledger
import NodeCore
import Primitives
import Records

struct Workload {
    private struct Key: Hashable {
        let peer: Int
        let command: CommandID
    }

    var datanets: [DatanetID] = []
    private var kinds: [Key: String] = [:]

    mutating func began(_ id: CommandID, _ peer: Int, _ kind: String) { kinds[Key(peer: peer, command: id)] = kind }
    mutating func over(_ id: CommandID, _ peer: Int, _ answer: NodeAnswer) { kinds[Key(peer: peer, command: id)] = nil }

    func names(_ commands: Set<CommandID>, _ peer: Int) -> String {
        commands.sorted().compactMap { kinds[Key(peer: peer, command: $0)] }.joined(separator: ", ")
    }
}

extension SimulatedWorld {
    func work() {
        guard !isHealing else { return }
        queue.push(.work, at: now + .milliseconds(40 + random.below(700)))
        let index = Int(random.below(UInt64(homes.count)))
        guard let node = homes[index].node else { return }
        let other = homes[Int(random.below(UInt64(homes.count)))].account
        if node.accountState(homes[index].account).free < NetworkPlan.priceMax {
            return command(index, .transact(.faucet, wait: random.below(2) == 0), "faucet")
        }
        switch random.below(20) {
        case 0..<10: ask(index, node)
        case 10..<14:
            let amount = Amount(baseUnits: UInt128(1 + random.below(1_000_000_000_000_000_000)))
            command(index, .transact(.transfer(to: other, amount: amount), wait: random.below(2) == 0), "transfer")
        case 14:
            command(
                index, .transact(.stake(Amount(baseUnits: UInt128(1 + random.below(1_000_000)))), wait: true), "stake")
        case 15:
            let policy = DatanetCommand.create(
                name: "set-\(random.below(1_000_000))", summary: "of a simulation", tags: [], licence: "CC0-1.0",
                policy: .open, nonce: random.bytes(16))
            command(index, .datanet(policy), "create")
        case 16..<18:
            guard let id = pick(workload.datanets) else { return }
            let rows = (0..<(1 + random.below(4))).map { _ in
                Row(.pair(prompt: "q\(random.next())", completion: "a\(random.next())"))
            }
            command(index, .datanet(.contribute(rows, to: id, licence: "CC0-1.0")), "contribute")
        case 18:
            guard let id = pick(workload.datanets) else { return }
            command(index, .datanet(.pull(id)), "pull")
        default: audit(index, node)
        }
    }

    func pick<Element>(_ list: [Element]) -> Element? {
        list.isEmpty ? nil : list[Int(random.below(UInt64(list.count)))]
    }

    private func ask(_ index: Int, _ node: Node) {
        guard let server = homes.count == 1 ? node.peer : pick(node.connectedPeers) else { return }
        let request = AskRequest(
            server: server, price: NetworkPlan.price, priceMax: NetworkPlan.priceMax,
            model: SimulatedModel.cid, precision: "f32",
            prompt: .tokens((0..<(1 + random.below(8))).map { UInt32($0) }),
            decoding: Decoding(seed: random.next(), maxTokens: 1 + random.below(24)), randomness: random.bytes(96))
        command(index, .ask(request), "ask")
    }

    /// Of an answer that it paid for or gave, by itself or by a neighbour.
    private func audit(_ index: Int, _ node: Node) {
        guard let entry = pick(homes[index].disk.all(.mine, prefix: [])),
            let record = try? OwnReceipt(decoding: entry.value)
        else { return }
        let auditor = random.below(2) == 0 ? nil : pick(node.connectedPeers)
        let request = AuditRequest(
            record: record, auditor: auditor, publishes: random.below(2) == 0,
            shares: !record.sources.isEmpty && random.below(2) == 0)
        command(index, .audit(request), "audit")
    }

    /// Says what it serves: who cannot repeat an answer itself finds somebody by that.
    func advertise(_ index: Int) {
        let wall = moment(index).wall
        let advert = ServingAdvert(
            server: homes[index].account, peer: homes[index].peer,
            models: [ServedModel(model: SimulatedModel.cid, name: "model", precision: "f32", adapters: [])],
            datanets: [], pricePerRequest: NetworkPlan.price.request,
            pricePerPromptToken: NetworkPlan.price.promptToken, pricePerAnswerToken: NetworkPlan.price.answerToken,
            queued: 0, issued: wall, expires: wall.adding(milliseconds: 3_500_000),
            keeps: homes[index].node?.lentDisk)
        command(index, .advertise(advert), "advertise")
    }

    func command(_ index: Int, _ command: NodeCommand, _ kind: String) {
        homes[index].lastCommand += 1
        let id = CommandID(homes[index].lastCommand)
        homes[index].waiting.insert(id)
        workload.began(id, index, kind)
        push(index, .command(id, command), after: .zero)
        // Only neighbours are asked for blocks: who pulls what none of them holds waits until he has had enough.
        if kind == "pull" { push(index, .cancelled(id), after: .seconds(60)) }
        if case .ask = command, random.below(20) == 0 {
            push(index, .cancelled(id), after: .milliseconds(random.below(3000)))
        }
    }

    /// Answers as a model would: some tokens at some rate, drawing on rows of one to three contributors.
    func generate(_ order: AskOrder, _ ticket: Ticket, _ index: Int) {
        guard case .tokens(let prompt) = order.prompt else { return }
        homes[index].generations.insert(ticket)
        if random.below(30) == 0 {
            return push(
                index, .generated(ticket, .failed(code: "engine", message: "no memory")), after: .milliseconds(5))
        }
        let model = ModelUse(
            weights: order.model, owner: nil, tokenizer: nil, template: nil, precision: order.precision, numerics: 1)
        let sources = SimulatedModel.prompt(order, accounts: homes.map(\.account))
        let data = DataUse(snapshots: sources.isEmpty ? [] : [SimulatedModel.snapshot])
        var after = Span.milliseconds(2 + random.below(20))
        push(
            index,
            .generated(ticket, .started(AnswerStart(promptTokens: prompt, sources: sources, model: model, data: data))),
            after: after)
        let count = random.below(order.decoding.maxTokens + 1)
        let pace = Span.milliseconds(1 + random.below(30))
        var tokens = SimulatedModel.answer(order.decoding, count: Int(clamping: count))
        if liar?.home == index, liar?.corrupt(&tokens) == true { checker.lies.insert(order.request) }
        for token in tokens {
            after = after + pace
            push(index, .generated(ticket, .token(id: token, text: "t")), after: after)
        }
        push(index, .generated(ticket, .finished(.stop)), after: after + .milliseconds(1))
    }
}
