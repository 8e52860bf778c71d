// The node as the gateway sees it: every call of the HTTP interface, answered from the node's loop, the store and the
// shelf. Requests come on any thread; what they need of the node is read on its loop and carried away as values.
//
//   gateway ──call──▶ service ──read, command──▶ node (loop)
//                        ├──▶ store: batches, receipts, history, blocks
//                        └──▶ shelf, engine: models, free answers

import Foundation
package import Gateway
import Ledger
import NodeCore
package import Primitives
import Records
import Storage
import Synchronization

package final class PeerService: NodeService, Sendable {
    let peer: RunningPeer
    let own: OwnReceipts
    let epochs: EpochBook
    let desk: RowDesk
    let earned: EarningsBook
    let isDraining = Mutex(false)
    /// That compute now (Trainings.swift).
    let checks = Mutex(0)

    var handle: NodeHandle { peer.handle }

    package init(peer: RunningPeer) {
        self.peer = peer
        own = OwnReceipts(store: peer.store)
        epochs = EpochBook(store: peer.store, genesis: peer.genesis)
        desk = RowDesk(reader: PDFReader(folder: peer.home.documentsPath))
        earned = EarningsBook(store: peer.store, network: peer.genesis.network)
    }

    // MARK: Doors into the peer

    func read<Value: Sendable>(_ body: @escaping @Sendable (Node) -> Value) async throws(NodeFault) -> Value {
        do {
            return try await handle.read(body)
        } catch {
            throw Self.stopping
        }
    }

    func connections() async throws(NodeFault) -> [ConnectionNote] {
        do {
            return try await handle.connections()
        } catch {
            throw Self.stopping
        }
    }

    func stored<Value>(_ body: () throws(StorageFault) -> Value) throws(NodeFault) -> Value {
        do {
            return try body()
        } catch {
            throw NodeFault(.broken, "the store cannot be read: \(error); run: openledger doctor", code: "storage")
        }
    }

    static let stopping = NodeFault(
        .unavailable, "the peer is stopping; ask again when it is up", code: "draining", retryAfterSeconds: 5)

    // MARK: Calls

    package func perform(_ call: NodeCall) async throws(NodeFault) -> JSONValue {
        switch call {
        case .identity: try await identity()
        case .status: try await status()
        case .peers: try await peers()
        case .doctor: try await doctor()
        case .configuration: peer.settings.explained
        case .lightStatus: try await lightStatus()
        case .lightSync(let checkpoint): try await lightSync(checkpoint)
        case .lightVerify(let receipt): try verify(try await receiptBundle(receipt))
        case .quote(let request): try await quote(request)
        case .connect(let address): try await connect(address)
        case .disconnect(let id): try await disconnect(id)
        case .shutdown: shutdown()
        case .datanets, .datanet, .datanetRows, .contributions, .contributionReport, .datanetHealth,
            .validateRows, .createDatanet, .addRows, .approveContribution, .rejectContribution:
            try await performDatanet(call)
        case .models(let page): try await models(page)
        case .model(let name): try await model(name)
        case .adapters(let page): try await adapters(page)
        case .adapter(let name): try await adapter(name)
        case .changeAdapter(let name, let action): try await changeAdapter(name, action)
        case .fusions: try await fusions()
        case .fusion(let name): try await fusion(name)
        case .createFusion(let wanted): try await createFusion(wanted)
        case .removeFusion(let name): try await removeFusion(name)
        case .trainings: trainings()
        case .training(let id): try training(id)
        case .changeTraining(let id, let action): try change(training: id, action)
        case .startTraining(let wanted): json(try await started(wanted))
        case .estimateTraining(let wanted): try await estimate(wanted)
        case .publishAdapter(let name): try await publish(adapter: name)
        case .removeModel(let name): try await remove(.model, name)
        case .removeAdapter(let name): try await remove(.adapter, name)
        case .receipts(let page): try await receipts(page)
        case .receipt(let id): try await receipt(id)
        case .receiptRendering(let id): try await receiptRendering(id)
        case .verifyBundle(let bytes): try verify(bytes)
        case .setPrecision(let model, let precision): try await setPrecision(model, precision)
        case .audit(let id, let peer, let here, let publish, let attribution):
            attribution
                ? try await auditShares(id, peer: peer, here: here)
                : try await audit(id, peer: peer, here: here, publish: publish)
        case .batches(let page): try await batches(page)
        case .batch(let height): try await batch(height)
        case .committee: try await committee()
        case .supply: try await supply()
        case .account(let text): try await account(text)
        case .accountHistory(let account, let page): try await history(account, page)
        case .accountEarnings(let account, let page): try await earnings(account, page)
        case .transaction(let id): try await transaction(id)
        case .transfer(let to, let amount, let wait): try await transfer(to, amount, wait)
        case .stake(let amount, let wait): try await stake(amount, wait)
        case .unstake(let amount, let wait): try await transact(.unstake(amount), wait)
        case .claim(let wait): try await transact(.claim, wait)
        case .faucet(let account): try await faucet(account)
        }
    }

    package func stream(
        _ call: NodeStreamCall
    ) async throws(NodeFault) -> any AsyncSequence<JSONValue, any Error> & Sendable {
        switch call {
        case .exportDatanet(let name): try await export(name)
        case .pullDatanet(let name, let from): try await pullDatanet(name, from)
        case .importModel(let path, let name, let precision): try importModel(path, name, precision)
        case .pullModel(let name, let from): try await pull(.model, name, from)
        case .importAdapter(let path, let name, let model): try await importAdapter(path, name, model)
        case .pullAdapter(let name, let from): try await pull(.adapter, name, from)
        case .mergeModel(let wanted): try await mergeModel(wanted)
        case .train(let wanted): try await train(wanted)
        case .trainingEvents(let id): try trainingEvents(id)
        case .evaluateAdapter(let wanted): try await evaluate(wanted)
        case .verifyAdapter(let wanted): try await verify(wanted)
        }
    }

    private func shutdown() -> JSONValue {
        isDraining.withLock { $0 = true }
        return Self.endProcess()
    }

    /// The answer goes out first; then the process is told to end as by its operator.
    static func endProcess() -> JSONValue {
        Task.detached {
            try? await Task.sleep(for: .milliseconds(100))
            kill(getpid(), SIGTERM)
        }
        return .object(["draining": .bool(true)])
    }
}
