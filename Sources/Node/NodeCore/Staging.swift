// Layers for other peers, and layers from them (Protocol/layers.md). A session is a stream: what it was granted ends with
// it. The kernels are behind effects, as they are for whole answers.

package import Primitives
package import Records

/// What this peer computes for others.
package struct LayerOffer: Hashable, Sendable {
    package var served: [ServedLayers]
    /// For these only; empty: for every peer of the network.
    package var peers: [PeerID]

    package init(served: [ServedLayers], peers: [PeerID]) {
        self.served = served
        self.peers = peers
    }
}

/// What the kernels are asked by a stage's session, by its ticket.
package enum StageOrder: Hashable, Sendable {
    case open(LayersRequest)
    case compute(LayerWork)
    case close
}

/// What a coordinator hears of a session that it opened.
package enum LayersNews: Hashable, Sendable {
    case opened(pages: Int, hidden: Int)
    case computed([UInt8])
}

struct StageDesk: Sendable {
    static let sessionsMax = 8
    static let sessionsPerPeerMax = 4
    static let usedMax = 64

    struct Serving: Sendable {
        var exchange: StageExchange
        let peer: PeerID
        let ticket: Ticket
    }

    struct Using: Sendable {
        var exchange: LayersExchange
        let stream: StreamID
    }

    var offer = LayerOffer(served: [], peers: [])
    var serving: [StreamID: Serving] = [:]
    var tickets: [Ticket: StreamID] = [:]
    /// By the command that opened it.
    var using: [CommandID: Using] = [:]

    func refusal(_ request: LayersRequest, from peer: PeerID) -> (code: String, message: String)? {
        guard offer.peers.isEmpty || offer.peers.contains(peer) else {
            return ("not_for_you", "this peer computes layers for named peers only")
        }
        let fits = offer.served.contains {
            $0.model == request.model && $0.precision == request.precision && $0.numerics == request.numerics
                && $0.layers.lowerBound <= request.layers.lowerBound
                && $0.layers.upperBound >= request.layers.upperBound
        }
        guard fits else {
            return (
                "not_serving",
                "layers \(request.layers.lowerBound) to \(request.layers.upperBound - 1) of this model at \(request.precision) are not served here"
            )
        }
        guard serving.count <= Self.sessionsMax,
            serving.count(where: { $0.value.peer == peer }) <= Self.sessionsPerPeerMax
        else { return ("busy", "\(Self.sessionsMax) sessions are open, or \(Self.sessionsPerPeerMax) of this peer") }
        return nil
    }
}

extension Node {
    /// Sessions of others that compute here.
    package var stagesServed: Int { staging.serving.count }
    /// Sessions of this peer that compute elsewhere.
    package var stagesUsed: Int { staging.using.count }

    /// What this peer computes for others.
    package var layerOffer: LayerOffer { staging.offer }

    // MARK: For others

    mutating func stageReceived(_ bytes: [UInt8], on stream: StreamID, from peer: PeerID) {
        var serving: StageDesk.Serving
        if let known = staging.serving[stream] {
            serving = known
        } else {
            serving = StageDesk.Serving(
                exchange: StageExchange(now: moment.instant), peer: peer, ticket: ticket())
            staging.tickets[serving.ticket] = stream
            staging.serving[stream] = serving
        }
        let actions: [StageAction]
        do {
            let message = try LayersMessage(decoding: bytes)
            actions = serving.exchange.received(message, now: moment.instant) { [staging] in
                staging.refusal($0, from: peer)
            }
        } catch {
            blame(peer, "layers: \(error)")
            actions = serving.exchange.malformed("\(error)")
        }
        staging.serving[stream] = serving
        performStage(actions, on: stream)
    }

    mutating func stageClosed(_ stream: StreamID) {
        guard var serving = staging.serving[stream] else { return }
        let actions = serving.exchange.closed()
        staging.serving[stream] = serving
        performStage(actions, on: stream)
    }

    mutating func staged(_ ticket: Ticket, _ news: StageNews) {
        guard let stream = staging.tickets[ticket], var serving = staging.serving[stream] else { return }
        let actions = serving.exchange.heard(news, now: moment.instant)
        staging.serving[stream] = serving
        performStage(actions, on: stream)
    }

    private mutating func performStage(_ actions: [StageAction], on stream: StreamID) {
        guard let ticket = staging.serving[stream]?.ticket else { return }
        for action in actions {
            switch action {
            case .send(let message): send(message.encoded(), on: stream)
            case .open(let request): effects.append(.computeLayers(.open(request), ticket))
            case .compute(let work): effects.append(.computeLayers(.compute(work), ticket))
            case .over:
                effects.append(.computeLayers(.close, ticket))
                staging.serving[stream] = nil
                staging.tickets[ticket] = nil
                // What comes behind is nobody's.
                if links.end(stream) != nil { effects.append(.finish(stream)) }
            }
        }
    }

    // MARK: From others

    mutating func openLayers(_ peer: PeerID, _ request: LayersRequest, _ id: CommandID) {
        guard links.isConnected(peer) else { return effects.append(.answer(id, .failed(.layers(.notConnected)))) }
        guard staging.using.count < StageDesk.usedMax else {
            return effects.append(.answer(id, .failed(.tooMany("stages", max: StageDesk.usedMax))))
        }
        let stream = links.open(peer, .layersUsed(id))
        effects.append(.open(stream, peer, protocols: [NodeProtocol.layers]))
        let using = StageDesk.Using(exchange: LayersExchange(request, now: moment.instant), stream: stream)
        staging.using[id] = using
        performLayers(using.exchange.begin(), id)
    }

    mutating func computeLayers(_ work: LayerWork, session: CommandID) {
        guard var using = staging.using[session] else { return }
        let actions = using.exchange.compute(work, now: moment.instant)
        staging.using[session] = using
        performLayers(actions, session)
    }

    /// The coordinator has no more use for a session.
    mutating func closeLayers(_ id: CommandID) {
        guard let using = staging.using.removeValue(forKey: id) else { return }
        if links.end(using.stream) != nil { effects.append(.reset(using.stream)) }
    }

    mutating func layersReceived(_ bytes: [UInt8], _ id: CommandID, from peer: PeerID) {
        guard var using = staging.using[id] else { return }
        let actions: [LayersAction]
        do {
            actions = using.exchange.received(try LayersMessage(decoding: bytes), now: moment.instant)
        } catch {
            blame(peer, "layers: \(error)")
            actions = using.exchange.malformed("\(error)")
        }
        staging.using[id] = using
        performLayers(actions, id)
    }

    mutating func layersClosed(_ id: CommandID) {
        guard var using = staging.using[id] else { return }
        let actions = using.exchange.closed()
        staging.using[id] = using
        performLayers(actions, id)
    }

    private mutating func performLayers(_ actions: [LayersAction], _ id: CommandID) {
        guard let stream = staging.using[id]?.stream else { return }
        for action in actions {
            switch action {
            case .send(let message): send(message.encoded(), on: stream)
            case .opened(let pages, let hidden):
                effects.append(.answer(id, .layers(.opened(pages: pages, hidden: hidden))))
            case .computed(let rows): effects.append(.answer(id, .layers(.computed(rows))))
            case .over(let fault):
                effects.append(.answer(id, .failed(.layers(fault))))
                closeLayers(id)
            }
        }
    }

    /// Ends sessions in which nothing moves.
    mutating func giveUpStages() {
        for stream in staging.serving.keys.sorted() {
            guard var serving = staging.serving[stream] else { continue }
            let actions = serving.exchange.elapsed(now: moment.instant)
            staging.serving[stream] = serving
            performStage(actions, on: stream)
        }
        for id in staging.using.keys.sorted() {
            guard var using = staging.using[id] else { continue }
            let actions = using.exchange.elapsed(now: moment.instant, patience: configuration.layersPatience)
            staging.using[id] = using
            performLayers(actions, id)
        }
    }
}
