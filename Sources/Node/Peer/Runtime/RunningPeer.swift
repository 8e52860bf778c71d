// A peer that runs: home, store, engines, node, swarm and gateway, put together, and taken apart in the opposite order.
//
//   open home ──▶ store (locked) ──▶ shelf, starter ──▶ genesis ──▶ node on its loop ──▶ listening ──▶ gateway ──▶ ready
//                                                         │ only its hash is known ▲
//                                                         └▶ asked of boot peers ──┘ `GenesisSearch`
//   SIGTERM ──▶ gateway drains ──▶ swarm stops ──▶ store closes ──▶ exit 0

import Arithmetic
import Datanets
import Dispatch
import Foundation
package import Ledger
package import Logging
import NodeCore
package import Primitives
package import Records
import Sequencing
package import Storage
import Synchronization
import Transport
import Wire

package struct PeerOptions: Sendable {
    package var home: String
    /// Settings given as flags, by key name.
    package var flags: [String: String] = [:]
    package var environment: [String: String]
    /// Whether a fresh home gets the starter model, adapters and datanets.
    package var starter = true
    /// Where the starter folder is; nil: beside the program or in the source tree.
    package var starterPath: String?
    /// No listener but the Unix socket: for commands on a home whose peer is not up.
    package var offline = false

    package init(home: String, environment: [String: String] = ProcessInfo.processInfo.environment) {
        self.home = home
        self.environment = environment
    }
}

package enum PeerFault: Error, Sendable, CustomStringConvertible {
    case home(HomeFault)
    case settings(SettingsFault)
    case storage(StorageFault)
    case transport(String)
    case network(String)
    case gateway(String)
    /// Not reachable: what is missing comes from peers that are not there.
    case waiting(String)
    /// Told to end before it was up.
    case stopped

    package var description: String {
        switch self {
        case .home(let fault): "\(fault)"
        case .settings(let fault): "\(fault)"
        case .storage(let fault): "\(fault)"
        case .transport(let reason), .network(let reason), .gateway(let reason), .waiting(let reason): reason
        case .stopped: "stopped before it was up"
        }
    }
}

package final class RunningPeer: Sendable {
    package let home: Home
    package let settings: Settings
    package let genesis: Genesis
    package let key: SigningKey
    package let handle: NodeHandle
    package let store: NodeStore
    package let shelf: ModelShelf
    package let inference: InferenceService
    package let stages: StageService
    package let trainings: TrainingDesk
    /// Of models whose layers were left to this peer to choose.
    let chosenLayers = Mutex<[CID: Range<Int>]>([:])
    package let library: Library
    package let directory: DatanetDirectory
    package let started: WallTime
    package let logger: Logger
    private let swarm: SwarmHandle
    private let hub: NoticeHub
    private let listening: Bool

    private init(
        home: Home, settings: Settings, genesis: Genesis, key: SigningKey, handle: NodeHandle, store: NodeStore,
        shelf: ModelShelf, inference: InferenceService, stages: StageService, trainings: TrainingDesk, library: Library,
        directory: DatanetDirectory, logger: Logger,
        swarm: SwarmHandle, hub: NoticeHub, listening: Bool
    ) {
        self.home = home
        self.settings = settings
        self.genesis = genesis
        self.key = key
        self.handle = handle
        self.store = store
        self.shelf = shelf
        self.inference = inference
        self.stages = stages
        self.trainings = trainings
        self.library = library
        self.directory = directory
        started = NodeDriver.wallTime()
        self.logger = logger
        self.swarm = swarm
        self.hub = hub
        self.listening = listening
    }

    // MARK: Start

    package static func start(_ options: PeerOptions, logger: Logger) async throws(PeerFault) -> RunningPeer {
        let home: Home
        let settings: Settings
        let key: SigningKey
        do { home = try Home(path: options.home) } catch { throw .home(error) }
        do {
            settings = try Settings(home: home, flags: options.flags, environment: options.environment)
        } catch { throw .settings(error) }

        // The lock comes before anything is made: of two peers on one home, the second changes nothing.
        let nodeStore: NodeStore
        let shelf: ModelShelf
        let book: AdapterBook
        do {
            let schema = Schema(
                version: 1,
                tables: NodeStore.tables + BlobTables.all + ModelShelf.tables + APIKeyShelf.tables + AdapterBook.tables)
            let store = try Store(home: home.storePath, schema: schema)
            let blobs = try BlobStore(store)
            shelf = try ModelShelf(store: store, blobs: blobs)
            book = try AdapterBook(store: store)
            nodeStore = NodeStore(store: store, blobs: blobs, keeper: shelf.keeper) { logger.error("\($0)") }
        } catch let fault as StorageFault {
            throw .storage(fault)
        } catch {
            throw .network("the shelf of models: \(error)")
        }
        do { key = try home.signingKey() } catch { throw .home(error) }

        let starter = options.starter ? Starter.find(options.starterPath) : nil
        let shelved = try importStarter(starter, into: shelf, logger)
        let genesis = try await genesis(home, settings, key, shelved, nodeStore.store, options, logger)
        let restored: Restored
        do { restored = try nodeStore.restored() } catch { throw .storage(error) }
        let configuration = try configuration(settings, genesis, key, lendable: Self.lendable(home))

        let directory = DatanetDirectory()
        let library = Library(
            read: { try nodeStore.block($0) }, datanet: { directory.held($0) })
        let room: WeightRoom, stages: StageService, scoringTokensMax: Int
        do {
            scoringTokensMax = try settings.count("attribution.scoring")
            let bytesMax = try settings.bytes("memory.models")
            room = WeightRoom(bytesMax: bytesMax == 0 ? nil : bytesMax)
            stages = StageService(
                shelf: shelf, room: room, pageBytesMax: try settings.bytes("layers.memory"), threads: settings.threads)
        } catch { throw .settings(error) }
        let prepared = Self.prepared(home, logger)
        let inference = InferenceService(
            shelf: shelf, library: library, book: book, peer: key.publicKey.peerID,
            precision: settings.text("precision"), cache: settings.text("cache"), threads: settings.threads,
            prepared: prepared, room: room, scoringTokensMax: scoringTokensMax)
        let hub = NoticeHub()
        let box = LoopBox()
        let computing = DispatchQueue(label: "openledger.compute", attributes: .concurrent)
        let performers = Performers(
            persist: { nodeStore.persist($0, $1) },
            load: { nodeStore.load($0, $1) },
            batches: { nodeStore.batches($0, $1, $2) },
            compute: { job, done in
                computing.async {
                    switch job {
                    case .execute(let execution): done(.executed(execution.run()))
                    }
                }
            },
            generate: { inference.generate($0.order, ticket: $1, news: $2) },
            stopGenerating: { inference.stop($0) },
            computeLayers: { stages.perform($0, $1, news: $2) },
            reexecute: { inference.reexecute($0, done: $1) },
            weigh: { inference.weigh($0, done: $1) },
            reweigh: { inference.reweigh($0, done: $1) },
            notice: {
                AuditMetrics.tell($0)
                hub.tell($0)
            },
            log: { logger.debug("\($0)") })

        let failure = Mutex<PeerFault?>(nil)
        let ready = DispatchSemaphore(value: 0)
        let listen = options.offline ? [] : (try? settings.addresses("listen")) ?? []
        let swarm: SwarmHandle
        do {
            swarm = try SwarmHandle.start(swarmConfiguration(key, protocols())) { swarm in
                defer { ready.signal() }
                do {
                    for address in listen { try swarm.listen(on: address) }
                } catch {
                    failure.withLock { $0 = .transport("cannot listen: \(error)") }
                    return { _ in }
                }
                let moment = Moment(swarm.now, NodeDriver.wallTime())
                do {
                    let node = try Node(configuration, restored: restored, moment: moment)
                    let driver = NodeDriver(node: node, swarm: swarm, performers: performers, directory: directory)
                    box.set(LoopBound(driver, on: swarm))
                    return { driver.handle($0) }
                } catch {
                    failure.withLock { $0 = .network("the genesis cannot be executed: \(error)") }
                    return { _ in }
                }
            }
        } catch { throw .transport("the network loop cannot start: \(error)") }
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            DispatchQueue.global().async {
                ready.wait()
                continuation.resume()
            }
        }
        if let fault = failure.withLock({ $0 }) {
            swarm.stop()
            swarm.join()
            nodeStore.store.close()
            throw fault
        }
        let handle = NodeHandle(network: genesis.network, key: key.publicKey, swarm: swarm, box: box, hub: hub)
        swarm.post { swarm in
            box.driver(on: swarm).start { handle.post($0) }
        }
        inference.reach(NetworkLayers(handle: handle))
        let (trained, adapters) = AsyncStream.makeStream(of: (CID, FolderManifest).self)
        let trainings = TrainingDesk(
            path: home.trainingsPath,
            means: TrainingMeans(
                shelf: shelf, key: key, network: genesis.network, threads: settings.threads, room: room,
                prepared: prepared, isServing: { inference.load.running > 0 },
                speeds: TrainingSpeedBook(path: home.trainingSpeedsPath)),
            logger: logger
        ) { adapters.yield(($0, $1)) }
        let peer = RunningPeer(
            home: home, settings: settings, genesis: genesis, key: key, handle: handle, store: nodeStore, shelf: shelf,
            inference: inference, stages: stages, trainings: trainings, library: library, directory: directory,
            logger: logger, swarm: swarm, hub: hub, listening: !options.offline)
        await peer.settleIn(starter, shelved)
        peer.tell(of: trained)
        // A command on a home whose peer is down does what it was asked, and no more.
        trainings.begin(goesOn: !options.offline)
        return peer
    }

    private static func protocols() -> [ProtocolID: ProtocolLimits] {
        var protocols: [ProtocolID: ProtocolLimits] = [:]
        for (name, bytesMax) in NodeProtocol.accepted {
            guard let id = ProtocolID(name) else { continue }
            protocols[id] = ProtocolLimits(
                framing: .messages(bytesMax: bytesMax), sendHighWaterBytes: 4 << 20,
                sendBufferBytesMax: max(32 << 20, 4 * bytesMax))
        }
        return protocols
    }

    static func swarmConfiguration(
        _ key: SigningKey, _ protocols: [ProtocolID: ProtocolLimits]
    ) -> SwarmConfiguration {
        SwarmConfiguration(
            connection: ConnectionSettings(
                identity: key, protocols: protocols,
                about: LocalInfo(
                    listenAddresses: [], agentVersion: "openledger/\(RunningPeer.version)",
                    protocolVersion: "openledger/1",
                    recordSequence: UInt64(clamping: NodeDriver.wallTime().milliseconds)),
                limits: ConnectionLimits()))
    }

    package static let version = "0.1.0"

    private static func configuration(
        _ settings: Settings, _ genesis: Genesis, _ key: SigningKey, lendable: UInt64
    ) throws(PeerFault) -> NodeConfiguration {
        do {
            let wall = NodeDriver.wallTime()
            var configuration = NodeConfiguration(
                key: key, genesis: genesis,
                price: PriceSchedule(
                    request: try settings.amount("price.request"),
                    promptToken: try settings.amount("price.prompt_token"),
                    answerToken: try settings.amount("price.answer_token")),
                allowanceLimit: try settings.amount("allowance.limit"),
                allowanceHeights: try settings.number("allowance.heights"), boot: try settings.addresses("bootstrap"),
                serves: settings.text("serve") == "true" && settings.text("role") != "light",
                seed: Home.randomBytes(8).reduce(0) { $0 << 8 | UInt64($1) },
                // Nanoseconds since 1970: above every number that an earlier run used.
                firstSequence: UInt64(clamping: wall.milliseconds) &* 1_000_000)
            configuration.audits.share = UInt64(try settings.share("audit.share").value)
            configuration.audits.opens = settings.text("audit.open") == "true"
            configuration.keepLent =
                settings.text("role") == "light" ? 0 : min(lendable, UInt64(try settings.bytes("keep.disk")))
            if genesis.committee.members.count == 1 { configuration.consensus.heartbeat = .minutes(10) }
            return configuration
        } catch { throw .settings(error) }
    }

    /// Half of what is free beyond a gibibyte: what is lent must not stop the peer.
    private static func lendable(_ home: Home) -> UInt64 {
        let free = PeerService.freeBytes(at: home.path) ?? 0
        return free > 1 << 30 ? (free - (1 << 30)) / 2 : 0
    }

    // MARK: Starter and genesis

    private static func importStarter(
        _ starter: Starter?, into shelf: ModelShelf, _ logger: Logger
    ) throws(PeerFault) -> [(CID, FolderManifest)] {
        guard let starter, shelf.list().isEmpty else { return shelf.list().map { ($0.manifest, $0.folder) } }
        do {
            var made: [(CID, FolderManifest)] = []
            let model = try shelf.importFolder(path: starter.model, kind: .model, name: Starter.name, base: nil)
            made.append(model)
            for (name, path) in starter.adapters {
                made.append(try shelf.importFolder(path: path, kind: .adapter, name: name, base: model.0))
            }
            return made
        } catch { throw .network("the starter model cannot be imported: \(error)") }
    }

    /// Announces what this peer has, registers what it owns, creates the starter datanet on a fresh home.
    private func settleIn(_ starter: Starter?, _ shelved: [(CID, FolderManifest)]) async {
        for (cid, manifest) in shelved { await announce(cid, manifest) }
        await advertise()
        guard let starter else { return }
        let hasDatanets =
            (try? await handle.read { !$0.datanets.ids.isEmpty || !$0.catalog.all(.datanet).isEmpty }) ?? true
        guard !hasDatanets, (try? settings.addresses("bootstrap"))?.isEmpty ?? true else { return }
        for (name, path) in starter.datanets { await StarterDatanets.create(name, path, on: self) }
        // Again, with the datanets: an advert counts if it is newer than the one before.
        await advertise()
    }

    package func announce(_ cid: CID, _ manifest: FolderManifest) async {
        guard shelf.entry(cid)?.isWithheld != true else { return }
        let owner = handle.account
        let kind: CatalogKind = manifest.kind == .model ? .model : .adapter
        let known = (try? await handle.read { $0.catalog.all(kind).contains { $0.root == cid } }) ?? false
        guard !known else { return }
        let entry = CatalogEntry(
            kind: kind, name: manifest.name, root: cid, owner: owner,
            revision: UInt64(clamping: NodeDriver.wallTime().milliseconds), totalBytes: manifest.totalBytes)
        _ = await handle.perform(.announce(entry))
    }

    /// Tells the network what this peer serves; to be repeated before it expires.
    package func advertise() async {
        guard settings.text("serve") == "true", settings.text("role") != "light", listening else { return }
        let shelved = shelf.list()
        let adapters = shelved.filter { $0.kind == .adapter && !$0.isWithheld }
        let stages = await offerLayers()
        var models: [ServedModel] = []
        for model in shelved.filter({ $0.kind == .model }).prefix(ServingAdvert.modelsMax) {
            guard await canAnswer(from: model.manifest) else { continue }
            models.append(
                ServedModel(
                    model: model.manifest, name: model.name,
                    precision: inference.formName(of: model.manifest),
                    adapters: Array(
                        adapters.filter { $0.folder.base == model.manifest }.map(\.manifest).prefix(
                            ServingAdvert.adaptersMax))))
        }
        guard let (datanets, keeps) = try? await handle.read({ ($0.datanets.ids.map(\.digest), $0.lentDisk) }),
            !models.isEmpty || !stages.isEmpty || keeps != nil
        else { return }
        let wall = NodeDriver.wallTime()
        guard let price = try? price() else { return }
        let advert = ServingAdvert(
            server: handle.account, peer: handle.peer, models: models,
            datanets: Array(datanets.prefix(ServingAdvert.adaptersMax)), pricePerRequest: price.request,
            pricePerPromptToken: price.promptToken, pricePerAnswerToken: price.answerToken,
            queued: UInt64(clamping: inference.load.queued), issued: wall, expires: wall.adding(milliseconds: 600_000),
            stages: stages, keeps: keeps)
        _ = await handle.perform(.advertise(advert))
    }

    /// A candidate says each epoch that it runs; who does not is not drawn.
    package func keepLive() async {
        guard let (record, epoch) = try? await handle.read({ ($0.candidacy.record, $0.candidacy.epoch) }), let record,
            record.liveThrough < epoch + 2
        else { return }
        let answer = await handle.perform(.transact(.liveness(epoch: epoch), wait: false))
        if case .failed(let failure) = answer { logger.warning("liveness was not announced: \(failure)") }
    }

    package func price() throws(SettingsFault) -> PriceSchedule {
        PriceSchedule(
            request: try settings.amount("price.request"), promptToken: try settings.amount("price.prompt_token"),
            answerToken: try settings.amount("price.answer_token"))
    }

    /// Without it models are packed at every start: a peer runs all the same.
    private static func prepared(_ home: Home, _ logger: Logger) -> PreparedShelf? {
        do {
            return try PreparedShelf(path: home.preparedPath, logger: logger)
        } catch {
            logger.warning("prepared weights are not kept: \(error)")
            return nil
        }
    }

    // MARK: Stop

    package func stop() async {
        hub.finish()
        inference.close()
        stages.close()
        swarm.stop()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            DispatchQueue.global().async { [self] in
                trainings.close()
                swarm.join()
                store.store.close()
                continuation.resume()
            }
        }
    }
}
