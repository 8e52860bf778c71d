import Primitives
import Records
import Testing

/// What every record's decoder must hold to: its own encoding comes back, and nothing else is taken for it.
private func holdsToItsForm<Record: Equatable>(
    _ record: Record, _ encoding: [UInt8], bytesMax: Int, decode: ([UInt8]) throws -> Record
) throws {
    #expect(try decode(encoding) == record)
    #expect(encoding.count <= bytesMax)
    for length in encoding.indices { #expect(throws: (any Error).self) { try decode(Array(encoding.prefix(length))) } }
    #expect(throws: (any Error).self) { try decode(encoding + [0]) }
    #expect(throws: (any Error).self) { try decode([0xa0]) }
    #expect(throws: (any Error).self) { try decode([UInt8](repeating: 0x40, count: bytesMax + 300)) }
    for index in encoding.indices {
        for bit in 0..<8 {
            var damaged = encoding
            damaged[index] ^= 1 << UInt8(bit)
            if let other = try? decode(damaged) { #expect(other != record, "byte \(index), bit \(bit)") }
        }
    }
    // A field that this version does not know, and each field left out.
    guard case .entries(let entries) = try CBOR.decode(encoding) else {
        Issue.record("a record is a map")
        return
    }
    let pairs = entries.map { ($0.key, $0.value) }
    #expect(throws: (any Error).self) { try decode(CBOR.map(pairs + [("zzzzzz", .null)]).encoded()) }
    #expect(throws: (any Error).self) {
        try decode(CBOR.map(pairs.map { $0.0 == "v" ? ("v", .unsigned(2)) : $0 } + [("zz", .null)]).encoded())
    }
}

private func key(_ seed: UInt8) throws -> SigningKey { try SigningKey(seed: [UInt8](repeating: seed, count: 32)) }

@Suite struct CatalogEntryTests {
    @Test func formOfAnEntry() throws {
        let entry = CatalogEntry(
            kind: .contribution, name: "food", root: CID(.dagCBOR, hashing: [1]), owner: try key(1).publicKey.account,
            revision: 7, subject: Digest(sha256: [2]), totalBytes: 9_000)
        try holdsToItsForm(entry, entry.encoded(), bytesMax: CatalogEntry.bytesMax) { try CatalogEntry(decoding: $0) }
    }

    @Test func boundsOfAnEntry() throws {
        var entry = CatalogEntry(
            kind: .model, name: String(repeating: "n", count: FolderManifest.nameBytesMax),
            root: CID(.raw, hashing: []),
            owner: try key(1).publicKey.account, revision: .max, totalBytes: 1 << 48)
        #expect(try CatalogEntry(decoding: entry.encoded()) == entry)
        entry.name += "n"
        #expect(throws: CBORFault.self) { try CatalogEntry(decoding: entry.encoded()) }
        entry.name = "n"
        entry.totalBytes += 1
        #expect(throws: CBORFault.self) { try CatalogEntry(decoding: entry.encoded()) }
    }
}

@Suite struct FolderManifestTests {
    static func file(_ name: String) -> FolderFile {
        FolderFile(name: name, root: CID(.dagPB, hashing: Array(name.utf8)), bytes: 5)
    }

    @Test func formOfAManifest() throws {
        let manifest = FolderManifest(
            kind: .adapter, name: "food", base: CID(.dagCBOR, hashing: [1]),
            files: [Self.file("adapter_model.safetensors"), Self.file("adapter_config.json")])
        #expect(manifest.files.map(\.name) == ["adapter_config.json", "adapter_model.safetensors"])
        #expect(manifest.file("adapter_config.json") == Self.file("adapter_config.json"))
        #expect(manifest.totalBytes == 10)
        #expect(manifest.cid.verifies(manifest.encoded()))
        try holdsToItsForm(manifest, manifest.encoded(), bytesMax: FolderManifest.bytesMax) {
            try FolderManifest(decoding: $0)
        }
    }

    /// The order in which files were found does not change the name of a model.
    @Test func theNameDoesNotDependOnTheOrder() {
        let files = ["b", "a", "C", "10", "9"].map(Self.file)
        let one = FolderManifest(kind: .model, name: "m", base: nil, files: files)
        let other = FolderManifest(kind: .model, name: "m", base: nil, files: files.reversed())
        #expect(one.cid == other.cid)
    }

    /// A name from a stranger becomes a path on this disk.
    @Test(arguments: [
        "", ".", "..", ".hidden", "a/b", "/etc/passwd", "..\\x", "a\\b", "a b", "a\u{0}b", "a\nb", "é",
        String(repeating: "a", count: 129),
    ])
    func namesThatAreNoFileNames(name: String) {
        #expect(!FolderFile.isPlain(name))
        let manifest = FolderManifest(kind: .model, name: "m", base: nil, files: [Self.file(name)])
        #expect(throws: CBORFault.self) { try FolderManifest(decoding: manifest.encoded()) }
    }

    @Test func filesStandInOrderOnceEach() throws {
        func encoding(_ names: [String]) -> [UInt8] {
            CBOR.map([
                "v": .unsigned(1), "kind": .text("model"), "name": .text("m"),
                "files": .array(
                    names.map {
                        .map(["name": .text($0), "root": .link(CID(.raw, hashing: [])), "bytes": .unsigned(1)])
                    }),
            ]).encoded()
        }
        #expect(try FolderManifest(decoding: encoding(["a", "b"])).files.count == 2)
        #expect(throws: CBORFault.self) { try FolderManifest(decoding: encoding(["b", "a"])) }
        #expect(throws: CBORFault.self) { try FolderManifest(decoding: encoding(["a", "a"])) }
        #expect(throws: CBORFault.self) { try FolderManifest(decoding: encoding((0..<257).map { "f\(1000 + $0)" })) }
    }

    @Test func aBaseBelongsToAnAdapter() {
        let base = CID(.dagCBOR, hashing: [1])
        let orphan = FolderManifest(kind: .adapter, name: "a", base: nil, files: [])
        let model = FolderManifest(kind: .model, name: "m", base: base, files: [])
        #expect(throws: CBORFault.self) { try FolderManifest(decoding: orphan.encoded()) }
        #expect(throws: CBORFault.self) { try FolderManifest(decoding: model.encoded()) }
    }
}

@Suite struct ServingAdvertTests {
    static func advert() throws -> ServingAdvert {
        let server = try key(3).publicKey
        return ServingAdvert(
            server: server.account, peer: server.peerID,
            models: [
                ServedModel(
                    model: CID(.dagCBOR, hashing: [1]), name: "starter", precision: "f32",
                    adapters: [CID(.dagCBOR, hashing: [2])])
            ],
            datanets: [Digest(sha256: [3])], pricePerRequest: .zero, pricePerPromptToken: Amount(baseUnits: 1_000),
            pricePerAnswerToken: Amount(baseUnits: .max), queued: 2, issued: WallTime(milliseconds: -5),
            expires: WallTime(milliseconds: 1_700_000_000_000),
            stages: [
                ServedLayers(
                    model: CID(.dagCBOR, hashing: [1]), name: "starter", precision: "f32", numerics: 2, layers: 3..<6)
            ])
    }

    @Test func formOfAnAdvert() throws {
        let advert = try Self.advert()
        try holdsToItsForm(advert, advert.encoded(), bytesMax: ServingAdvert.bytesMax) {
            try ServingAdvert(decoding: $0)
        }
    }

    @Test func tooManyModels() throws {
        var advert = try Self.advert()
        let one = ServedModel(model: CID(.raw, hashing: []), name: "m", precision: "f32", adapters: [])
        advert.models = Array(repeating: one, count: ServingAdvert.modelsMax)
        #expect(try ServingAdvert(decoding: advert.encoded()) == advert)
        advert.models.append(one)
        #expect(throws: CBORFault.self) { try ServingAdvert(decoding: advert.encoded()) }
    }

    @Test func lentDisk() throws {
        var advert = try Self.advert()
        advert.keeps = LentDisk(lent: 16 << 20, used: 5)
        #expect(try ServingAdvert(decoding: advert.encoded()) == advert)
        for bad in [LentDisk(lent: (16 << 20) - 1, used: 0), LentDisk(lent: 16 << 20, used: (16 << 20) + 1)] {
            advert.keeps = bad
            #expect(throws: CBORFault.self) { try ServingAdvert(decoding: advert.encoded()) }
        }
    }

    /// A peer that computes no layers for others says what it always said.
    @Test func withoutStages() throws {
        var advert = try Self.advert()
        let stage = try #require(advert.stages.first)
        advert.stages = []
        try holdsToItsForm(advert, advert.encoded(), bytesMax: ServingAdvert.bytesMax) {
            try ServingAdvert(decoding: $0)
        }
        guard case .entries(let entries) = try CBOR.decode(advert.encoded()) else { return }
        let pairs = entries.map { ($0.key, $0.value) }
        #expect(!pairs.contains { $0.0 == "stages" })
        #expect(throws: CBORFault.self) {
            try ServingAdvert(decoding: CBOR.map(pairs + [("stages", .array([]))]).encoded())
        }
        advert.stages = Array(repeating: stage, count: ServingAdvert.stagesMax + 1)
        #expect(throws: CBORFault.self) { try ServingAdvert(decoding: advert.encoded()) }
    }
}

@Suite struct SignedEnvelopeTests {
    static let network = NetworkID(Digest(sha256: [9]))

    @Test func opensForItsDomainNetworkAndSignerOnly() throws {
        let payload: [UInt8] = [0xa1, 0x61, 0x61, 0x01]
        let secret = try key(1)
        let envelope = SignedEnvelope(payload, by: secret, domain: .catalog, network: Self.network)
        let encoding = envelope.encoded()
        #expect(encoding.count <= payload.count + SignedEnvelope.overheadBytesMax)
        #expect(
            try SignedEnvelope.open(encoding, domain: .catalog, network: Self.network, payloadBytesMax: 4) == envelope)
        #expect(throws: EnvelopeFault.badSignature(signer: secret.publicKey)) {
            try SignedEnvelope.open(encoding, domain: .advert, network: Self.network, payloadBytesMax: 4)
        }
        #expect(throws: EnvelopeFault.badSignature(signer: secret.publicKey)) {
            try SignedEnvelope.open(encoding, domain: .catalog, network: NetworkID(.zero), payloadBytesMax: 4)
        }
        #expect(throws: EnvelopeFault.self) {
            try SignedEnvelope.open(encoding, domain: .catalog, network: Self.network, payloadBytesMax: 3)
        }
        let stolen = SignedEnvelope(payload: payload, signer: try key(2).publicKey, signature: envelope.signature)
        #expect(!stolen.isValid(.catalog, network: Self.network))
    }

    @Test func everyBitIsSigned() throws {
        let envelope = SignedEnvelope([1, 2, 3], by: try key(1), domain: .catalog, network: Self.network)
        let encoding = envelope.encoded()
        for index in encoding.indices {
            for bit in 0..<8 {
                var damaged = encoding
                damaged[index] ^= 1 << UInt8(bit)
                #expect(throws: EnvelopeFault.self, "byte \(index), bit \(bit)") {
                    try SignedEnvelope.open(damaged, domain: .catalog, network: Self.network, payloadBytesMax: 64)
                }
            }
        }
    }
}
