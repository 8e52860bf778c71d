import Ledger
import Primitives
import Testing

@Suite struct CertificateTests {
    static let names = ["a", "b", "c", "d"]

    static func committee(_ epoch: UInt64, _ names: [String], seats: UInt64 = 1) throws -> Committee {
        try Committee(
            epoch: epoch,
            members: names.map { Member(account: World.account($0), key: World.key($0).publicKey, seats: seats) })
    }

    static func certificate(_ header: Header, _ names: [String], _ committee: Committee, kind: VoteKind = .finalize)
        -> Certificate?
    {
        let vote = Vote(kind: kind, height: header.height, view: header.view, digestVoted: header.digest)
        let signatures = names.map {
            (key: World.key($0).publicKey, signature: World.key($0).sign(vote.signingBytes(network: header.network)))
        }
        return Certificate(vote: vote, signatures: signatures, committee: committee)
    }

    static func header(_ committee: Committee, next: Committee?) throws -> Header {
        var header = try World().header
        header.height = 7
        header.view = 9
        header.epoch = committee.epoch
        header.committee = committee.digest
        header.next = next?.digest
        return header
    }

    @Test func aQuorumIsMoreThanTwoThirdsOfTheSeats() throws {
        for (count, quorum) in [(1, 1), (3, 3), (4, 3), (6, 5), (7, 5), (64, 43)] {
            let committee = try Self.committee(0, (0..<count).map { "m\($0)" })
            #expect(committee.quorum == UInt64(quorum))
        }
        let committee = try Self.committee(0, Self.names)
        let header = try Self.header(committee, next: nil)
        #expect(Self.certificate(header, ["a", "b"], committee) == nil)
        #expect(Self.certificate(header, ["a", "b", "b", "stranger"], committee) == nil)
        let certificate = try #require(Self.certificate(header, ["d", "a", "b"], committee))
        try header.verify(certificate, by: committee)
        #expect(try Certificate(decoding: certificate.encoded()) == certificate)
        #expect(try certificate.signers(of: committee).count == 3)
    }

    @Test func aCertificateThatIsNotGoodIsNamed() throws {
        let committee = try Self.committee(0, Self.names)
        let header = try Self.header(committee, next: nil)
        let good = try #require(Self.certificate(header, Self.names, committee))
        func fault(_ certificate: Certificate, _ header: Header, _ committee: Committee) -> CertificateFault? {
            do throws(CertificateFault) {
                try header.verify(certificate, by: committee)
                return nil
            } catch {
                return error
            }
        }
        func with(_ signers: [UInt8], _ signatures: [Signature]) -> Certificate {
            Certificate(vote: good.vote, signers: signers, signatures: signatures)
        }
        #expect(fault(good, header, committee) == nil)
        #expect(fault(with([0x0f, 0], good.signatures), header, committee) == .signerBits)
        #expect(fault(with([], good.signatures), header, committee) == .signerBits)
        #expect(fault(with([0x1f], good.signatures), header, committee) == .signerBits)
        #expect(fault(with([0x07], good.signatures), header, committee) == .signatureCount(expected: 3, got: 4))
        let two = Array(good.signatures.prefix(2))
        #expect(fault(with([0x03], two), header, committee) == .noQuorum(seats: 2, needed: 3))
        let swapped = [good.signatures[1], good.signatures[0]] + good.signatures.dropFirst(2)
        #expect(fault(with([0x0f], swapped), header, committee) == .badSignature(committee.members[0].account))
        var other = header
        other.view += 1
        #expect(other.view > good.vote.view, "a certificate of an earlier view")
        #expect(fault(good, other, committee) == .otherHeader)
        other = header
        other.network = NetworkID(.zero)
        #expect(fault(good, other, committee) == .otherHeader)
        #expect(fault(good, header, try Self.committee(1, Self.names)) == .wrongCommittee)
        let notarization = try #require(Self.certificate(header, Self.names, committee, kind: .notarize))
        #expect(fault(notarization, header, committee) == .notFinal(.notarize))
        try notarization.verify(network: header.network, committee: committee)
        #expect(throws: CertificateFault.badSignature(committee.members[0].account)) {
            try notarization.verify(network: NetworkID(.zero), committee: committee)
        }
    }

    @Test func committeesThatAreNotGoodAreRefused() throws {
        func member(_ name: String, _ seats: UInt64, key: String? = nil) -> Member {
            Member(account: World.account(name), key: World.key(key ?? name).publicKey, seats: seats)
        }
        #expect(throws: CommitteeFault.empty) { try Committee(epoch: 0, members: []) }
        #expect(throws: CommitteeFault.tooManySeats(65)) { try Committee(epoch: 0, members: [member("a", 65)]) }
        #expect(throws: CommitteeFault.tooManySeats(66)) {
            try Committee(epoch: 0, members: [member("a", 33), member("b", 33)])
        }
        #expect(throws: CommitteeFault.memberWithoutSeat(World.account("a"))) {
            try Committee(epoch: 0, members: [member("a", 0)])
        }
        #expect(throws: CommitteeFault.keyTwice(World.key("x").publicKey)) {
            try Committee(epoch: 0, members: [member("a", 1, key: "x"), member("b", 1, key: "x")])
        }
        #expect(throws: CommitteeFault.outOfOrder(World.account("a"))) {
            try Committee(epoch: 0, members: [member("a", 1), member("a", 1)])
        }
        let good = try Self.committee(0, Self.names)
        guard case .entries(let entries) = good.cbor,
            case .array(let members)? = entries.first(where: { $0.key == "members" })?.value
        else { return }
        let reversed = CBOR.map(["v": .unsigned(1), "epoch": .unsigned(0), "members": .array(members.reversed())])
        #expect(throws: CBORFault.self) { try Committee(decoding: reversed.encoded()) }
    }

    @Test func aHandoverLeadsToTheNamedCommitteeOnly() throws {
        let first = try Self.committee(0, Self.names)
        let second = try Self.committee(1, ["e", "f"])
        let header = try Self.header(first, next: second)
        let certificate = try #require(Self.certificate(header, Self.names, first))
        let handover = Handover(header: header, certificate: certificate, next: second)
        #expect(try handover.verify(network: header.network, from: first) == second)
        #expect(throws: CertificateFault.wrongNetwork) { try handover.verify(network: NetworkID(.zero), from: first) }
        #expect(throws: CertificateFault.wrongCommittee) { try handover.verify(network: header.network, from: second) }
        let other = Handover(header: header, certificate: certificate, next: try Self.committee(1, ["e", "g"]))
        #expect(throws: CertificateFault.noHandover) { try other.verify(network: header.network, from: first) }
        let plain = try Self.header(first, next: nil)
        let plainCertificate = try #require(Self.certificate(plain, Self.names, first))
        let none = Handover(header: plain, certificate: plainCertificate, next: second)
        #expect(throws: CertificateFault.noHandover) { try none.verify(network: header.network, from: first) }
    }

    @Test func aHeaderFollowsItsParentOnly() throws {
        let world = try World()
        var header = world.header
        header.height = 1
        header.parent = world.header.digest
        try header.check(follows: world.header)
        func fault(_ change: (inout Header) -> Void) -> HeaderFault? {
            var changed = header
            change(&changed)
            do throws(HeaderFault) {
                try changed.check(follows: world.header)
                return nil
            } catch {
                return error
            }
        }
        #expect(fault { $0.network = NetworkID(.zero) } == .wrongNetwork)
        #expect(fault { $0.height = 2 } == .wrongHeight(expected: 1, got: 2))
        #expect(fault { $0.parent = .zero } == .wrongParent)
        #expect(fault { $0.time = $0.time.adding(milliseconds: -1) } == .timeBeforeParent)
        #expect(fault { $0.epoch = 1 } == .wrongEpoch(expected: 0, got: 1))
        #expect(fault { $0.committee = .zero } == .wrongCommittee)
        #expect(fault { $0.supply.burned = .one } == .supplyChanged)
        try header.checkTime(now: header.time.adding(milliseconds: -10_000))
        #expect(throws: HeaderFault.timeAhead(milliseconds: 10_001)) {
            try header.checkTime(now: header.time.adding(milliseconds: -10_001))
        }
    }
}
