// The peers that compute the layers which an engine has not itself, in the order of the layers. Lives on the engine's
// thread. Who failed is left alone for a while, and another covers its layers.

import Foundation
import Inference
import NodeCore
import Primitives
import Records
import Synchronization

final class LayerChain: StageRelay {
    private struct Link {
        let part: LayerCover.Part
        let session: LayerSession
    }

    /// What is asked for, wherever it is.
    struct Wanted: Sendable {
        let model: CID
        let name: String
        let precision: String
        let numerics: UInt64
        let hidden: Int
    }

    private enum Limit {
        /// How long nobody may be there before it is given up.
        static let replaceSeconds = 10.0
        static let openTries = 8
        static let avoidSeconds = 60.0
        static let pollSeconds = 0.25
    }

    private(set) var stages: [Range<Int>] = []
    private(set) var pagesMax = 0
    /// By stage; one that was replaced may be several peers'.
    private var links: [[Link]] = []
    private var avoided: [PeerID: Date] = [:]
    private let wanted: Wanted
    private let door: any LayerDoor
    private let sessions: SessionList

    /// Opens a chain over `gaps`. Blocks, for as long as the peers read weights.
    /// - Parameter pages: how many to ask for, where so many stages are elsewhere.
    init(
        _ wanted: Wanted, gaps: [Range<Int>], pages: (_ stages: Int) -> Int, door: any LayerDoor,
        sessions: SessionList
    ) throws(StageFault) {
        self.wanted = wanted
        self.door = door
        self.sessions = sessions
        var last = StageFault("nobody was asked")
        for _ in 0..<Limit.openTries {
            var parts: [LayerCover.Part] = []
            for gap in gaps { parts += try cover(gap) }
            do throws(StageFault) {
                try open(parts, pages: pages(parts.count))
                return
            } catch {
                last = error
                drop(links.flatMap { $0 })
            }
        }
        throw last
    }

    deinit { drop(links.flatMap { $0 }) }

    private func open(_ parts: [LayerCover.Part], pages: Int) throws(StageFault) {
        stages = parts.map(\.layers)
        links = parts.map { [self.link($0, pages: pages)] }
        pagesMax = pages
        for link in links.joined() { pagesMax = min(pagesMax, try granted(link)) }
    }

    private func cover(_ gap: Range<Int>) throws(StageFault) -> [LayerCover.Part] {
        let now = Date()
        avoided = avoided.filter { $0.value > now }
        let offers = door.offers(wanted.model, precision: wanted.precision, numerics: wanted.numerics)
            .filter { avoided[$0.peer] == nil }
        let cover = LayerCover(gap, offers)
        guard let missing = cover.missing else { return cover.parts }
        throw StageFault(
            "layers \(missing.lowerBound) to \(missing.upperBound - 1) of \(wanted.name) at \(wanted.precision) do not fit this peer and no connected peer computes them; raise memory.models, or have a neighbour serve them (layers.serve = \"\(wanted.name):\(missing.lowerBound)-\(missing.upperBound - 1)\" in its config.toml)"
        )
    }

    private func link(_ part: LayerCover.Part, pages: Int) -> Link {
        let request = LayersRequest(
            model: wanted.model, precision: wanted.precision, numerics: wanted.numerics, layers: part.layers,
            pages: pages)
        let session = door.open(part.peer, request)
        sessions.add(session)
        return Link(part: part, session: session)
    }

    private func granted(_ link: Link) throws(StageFault) -> Int {
        do throws(StageFault) {
            let (pages, hidden) = try link.session.opened()
            guard hidden == wanted.hidden else {
                throw StageFault("its rows have \(hidden) numbers instead of \(wanted.hidden)")
            }
            return pages
        } catch {
            if link.session.isPeerToBlame { avoid(link.part.peer) }
            throw StageFault(
                "layers \(link.part.layers.lowerBound) to \(link.part.layers.upperBound - 1) of \(wanted.name) at \(link.part.peer): \(error)"
            )
        }
    }

    private func avoid(_ peer: PeerID) { avoided[peer] = Date(timeIntervalSinceNow: Limit.avoidSeconds) }

    private func drop(_ gone: [Link]) {
        for link in gone {
            sessions.remove(link.session)
            link.session.close()
        }
    }

    // MARK: Steps

    func compute(_ work: LayerWork, stage: Int) throws(StageFault) -> [UInt8] {
        var work = work
        for link in links[stage] {
            do throws(StageFault) {
                let rows = try link.session.compute(work)
                guard rows.count == work.rows.count else { throw StageFault("it sent another number of rows") }
                work.rows = rows
            } catch {
                if link.session.isPeerToBlame { avoid(link.part.peer) }
                throw StageFault(
                    "layers \(link.part.layers.lowerBound) to \(link.part.layers.upperBound - 1) of \(wanted.name) at \(link.part.peer): \(error)"
                )
            }
        }
        return work.rows
    }

    func replace(stage: Int, because fault: StageFault) throws(StageFault) {
        let range = stages[stage]
        drop(links[stage])
        links[stage] = []
        let deadline = Date(timeIntervalSinceNow: Limit.replaceSeconds)
        var last = fault
        while true {
            guard !sessions.isClosed else { throw StageFault("the peer is shutting down") }
            do throws(StageFault) {
                let new = try cover(range).map { self.link($0, pages: pagesMax) }
                links[stage] = new
                for link in new {
                    guard try granted(link) < pagesMax else { continue }
                    avoid(link.part.peer)
                    throw StageFault("\(link.part.peer) has no room for \(pagesMax) pages")
                }
                return
            } catch {
                drop(links[stage])
                links[stage] = []
                last = error
            }
            guard Date() < deadline else { throw StageFault("\(fault); then \(last)") }
            Thread.sleep(forTimeInterval: Limit.pollSeconds)
        }
    }
}

/// The sessions of one engine, for whoever ends it while its thread waits.
final class SessionList: Sendable {
    private struct State {
        var sessions: [ObjectIdentifier: LayerSession] = [:]
        var isClosed = false
    }

    private let state = Mutex(State())

    var isClosed: Bool { state.withLock { $0.isClosed } }

    func add(_ session: LayerSession) {
        let isClosed = state.withLock { state in
            state.sessions[ObjectIdentifier(session)] = session
            return state.isClosed
        }
        if isClosed { session.close() }
    }

    func remove(_ session: LayerSession) {
        state.withLock { _ = $0.sessions.removeValue(forKey: ObjectIdentifier(session)) }
    }

    func close() {
        let sessions = state.withLock { state in
            state.isClosed = true
            defer { state.sessions = [:] }
            return Array(state.sessions.values)
        }
        for session in sessions { session.close() }
    }
}
